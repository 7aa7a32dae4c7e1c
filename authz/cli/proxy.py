"""``authz proxy ca`` and ``authz proxy env``."""

import shlex
from pathlib import Path

import click

from authz.certificates.bundle import write_bundle
from authz.cli.common import config_option
from authz.cli.groups import AliasedGroup, example
from authz.config.direct import direct_hosts
from authz.config.loading import load
from authz.config.proxy import CaFiles, Proxy
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.errors import ConfigError

_NAME_MAX = 64
"""The maximum length of a common name (RFC 5280)."""


@click.group(cls=AliasedGroup, epilog=example("authz proxy ca", 'eval "$(authz proxy env)"'))
def proxy() -> None:
    """Set up the AI Gateway Proxy, for tools that take no base URL."""


@proxy.command(epilog=example("authz proxy ca --name 'Example Corp AI Gateway'"))
@click.option("--name", default="AI Gateway Proxy", show_default=True, help="The CA's common name.")
@config_option
def ca(*, name: str, config_path: Path | None) -> None:
    """Create the proxy's certificate authority in the files that gateway.yaml names.

    The private key has mode 0600 and stays on this machine. Clients have to trust the certificate.
    """
    # Imported late: cryptography takes a moment to import.
    from authz.certificates.ca import make_ca

    if not 1 <= len(name) <= _NAME_MAX:
        raise click.BadParameter(f"must have 1 to {_NAME_MAX} characters", param_hint="--name")
    config = load(config_path, uses=Uses.NOTHING)
    files = (config.proxy or Proxy()).ca
    make_ca(files.cert_file, files.key_file, name)
    _write_bundle(config, files)
    click.echo(f"Created {files.cert_file} and {files.key_file}.")
    click.echo("Clients have to trust the certificate: `authz proxy env` prints the shell lines.")


@proxy.command(epilog=example('eval "$(authz proxy env)"'))
@click.option(
    "--token",
    default="$CODER_TOKEN",
    help="The text to print for the token. Default: the shell variable CODER_TOKEN.",
)
@config_option
def env(*, token: str, config_path: Path | None) -> None:
    """Print the shell lines that send a tool through the proxy."""
    config = load(config_path, uses=Uses.NOTHING)
    settings = config.proxy
    if settings is None:
        raise ConfigError(["proxy: the proxy is off: add `proxy: {}` to gateway.yaml"])
    if not settings.ca.cert_file.is_file():
        raise ConfigError([f"{settings.ca.cert_file} does not exist: run `authz proxy ca`"])
    scheme = "http" if settings.tls is None else "https"
    # Some tools read only one spelling, and most prefer lower case if both are set.
    for name in ("HTTPS_PROXY", "https_proxy"):
        click.echo(f'export {name}="{scheme}://coder:{token}@{settings.listen.for_clients}"')
    for name in ("NO_PROXY", "no_proxy"):
        click.echo(f"export {name}={','.join(direct_hosts(config))}")
    # Node adds this file to its own roots. The others replace their roots, which tunnels need.
    click.echo(f"export NODE_EXTRA_CA_CERTS={_quoted(settings.ca.cert_file)}")
    bundle = _write_bundle(config, settings.ca)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        click.echo(f"export {name}={_quoted(bundle)}")


def _write_bundle(config: Config, files: CaFiles) -> Path:
    # Imported late: the module takes a moment to import.
    from authz.certificates.trust import system_roots

    bundle = config.state_folder / "ca-bundle.pem"
    if not write_bundle(bundle, files.cert_file, system_roots()):
        click.echo(
            "authz: no trusted root certificates found: tools can't verify tunnels", err=True
        )
    return bundle


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.resolve()))
