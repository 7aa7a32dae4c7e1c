"""``authz manifests``: manifests for gateways that authz does not configure."""

import json
from pathlib import Path

import click

from authz.addresses import TcpAddress, parse_tcp
from authz.cli.common import config_option, output_option, tell_warning
from authz.cli.groups import AliasedGroup, example
from authz.config.loading import load
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.errors import ConfigError


class _TcpType(click.ParamType[TcpAddress]):
    name = "HOST:PORT"

    def convert(
        self, value: str | TcpAddress, param: click.Parameter | None, ctx: click.Context | None
    ) -> TcpAddress:
        try:
            return value if isinstance(value, TcpAddress) else parse_tcp(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _NamedType(click.ParamType[str]):
    """Two names with something in between."""

    def __init__(self, name: str, between: str) -> None:
        self.name = name
        self._between = between

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        first, _, second = value.partition(self._between)
        if not first or not second:
            self.fail(f"must be {self.name}", param, ctx)
        return value


_authz_option = click.option(
    "--authz",
    "addresses",
    type=_TcpType(),
    multiple=True,
    help="Address at which the gateway reaches authz. Default: envoy.authz_grpc, or authz.grpc.",
)


@click.group(
    cls=AliasedGroup,
    epilog=example(
        "authz manifests envoy-gateway --gateway infra/public", "authz manifests check team/*.yaml"
    ),
)
def manifests() -> None:
    """Print and check manifests for Envoy Gateway and Istio."""


@manifests.command(
    name="envoy-gateway", epilog=example("authz manifests envoy-gateway --gateway infra/public")
)
@click.option(
    "--gateway",
    type=_NamedType("NAMESPACE/NAME", "/"),
    required=True,
    help="The Gateway that the routes are attached to.",
)
@_authz_option
@config_option
def envoy_gateway(
    gateway: str, addresses: tuple[TcpAddress, ...], config_path: Path | None
) -> None:
    """Print the manifests for Envoy Gateway 1.9 or newer.

    They have a route, a policy and the backends for each HTTPRoute of external_gateways.routes.
    """
    from authz.manifests.envoy_gateway import print_envoy_gateway

    click.echo(print_envoy_gateway(_load(config_path), gateway, addresses), nl=False)


@manifests.command(epilog=example("authz manifests istio --selector istio=ingressgateway"))
@click.option(
    "--namespace", default="istio-system", show_default=True, help="Namespace of the gateway."
)
@click.option(
    "--selector",
    type=_NamedType("KEY=VALUE", "="),
    default="istio=ingressgateway",
    show_default=True,
    help="Label of the gateway's Pods.",
)
@click.option("--mesh", is_flag=True, help="Print the mesh configuration, as Helm's values.")
@_authz_option
@config_option
def istio(
    namespace: str,
    selector: str,
    mesh: bool,
    addresses: tuple[TcpAddress, ...],
    config_path: Path | None,
) -> None:
    """Print the manifests for Istio.

    They have the gateway, a route for each host of external_gateways.routes, and the policy.
    """
    from authz.manifests.istio import print_istio, print_mesh

    config = _load(config_path)
    if mesh:
        click.echo(print_mesh(config, addresses), nl=False)
    else:
        click.echo(print_istio(config, namespace, selector, addresses), nl=False)


@manifests.command(epilog=example("authz manifests check team/*.yaml"))
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@output_option
@config_option
@click.pass_context
def check(
    ctx: click.Context, files: tuple[Path, ...], output: str, config_path: Path | None
) -> None:
    """Report settings that the manifests in FILES lack, and what that costs.

    The files can hold any manifests; those that don't concern authz are ignored. The exit status is
    1 if anything is missing.
    """
    from authz.manifests.check import check as find
    from authz.manifests.documents import read_manifests

    found = find(read_manifests(files), _load(config_path))
    if output == "json":
        click.echo(json.dumps([one.as_json() for one in found], indent=2))
    elif found:
        for one in found:
            click.echo(str(one))
    else:
        click.echo("The manifests have every setting that authz needs.")
    if found:
        ctx.exit(1)


def _load(config_path: Path | None) -> Config:
    # The manifests hold no secret.
    config = load(config_path, uses=Uses.NOTHING, warn=tell_warning)
    if config.external_gateways is None:
        raise ConfigError(
            ["external_gateways: is required, with the routes of the gateway (see its docs page)"]
        )
    return config
