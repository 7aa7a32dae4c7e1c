"""``authz proxy ca`` and ``authz proxy env``."""

import shlex
from pathlib import Path

import click

from authz.certificates.bundle import write_bundle
from authz.cli.common import config_option, example
from authz.config.direct import direct_hosts
from authz.config.loading import load
from authz.config.proxy import CaFiles, Proxy
from authz.config.settings import Config
from authz.errors import ConfigError

_NAME_MAX = 64
"""What a common name may have (RFC 5280)."""


@click.group(epilog=example("authz proxy ca", 'eval "$(authz proxy env)"'))
def proxy() -> None:
    """The AI Gateway Proxy, for tools that can't set a base URL."""


@proxy.command(epilog=example("authz proxy ca --name 'Example Corp AI Gateway'"))
@click.option("--name", default="AI Gateway Proxy", show_default=True, help="The CA's common name.")
@config_option
def ca(*, name: str, config_path: Path | None) -> None:
    """Make the proxy's certificate authority, where gateway.yaml says that it is.

    The key has mode 0600 and stays on this machine; clients have to trust the certificate.
    """
    # cryptography takes a moment to import, which the other commands shall not wait for.
    from authz.certificates.ca import make_ca

    if not 1 <= len(name) <= _NAME_MAX:
        raise click.BadParameter(f"has 1 to {_NAME_MAX} characters", param_hint="--name")
    config = load(config_path)
    files = (config.proxy or Proxy()).ca
    make_ca(files.cert_file, files.key_file, name)
    _write_bundle(config, files)
    click.echo(f"{files.cert_file} and {files.key_file} are made. Let clients trust the first one:")
    click.echo("authz proxy env")


@proxy.command(epilog=example('eval "$(authz proxy env)"'))
@click.option(
    "--token",
    default="$CODER_TOKEN",
    help="What to write for the token. Default: the shell variable CODER_TOKEN.",
)
@config_option
def env(*, token: str, config_path: Path | None) -> None:
    """Print the lines that send a tool through the proxy."""
    config = load(config_path)
    settings = config.proxy
    if settings is None:
        raise ConfigError(["proxy: the proxy is off: add `proxy: {}` to gateway.yaml"])
    if not settings.ca.cert_file.is_file():
        raise ConfigError([f"{settings.ca.cert_file} is not there: run `authz proxy ca`"])
    scheme = "http" if settings.tls is None else "https"
    # Some tools read only one spelling, and most prefer the lower-case one where both are set.
    for name in ("HTTPS_PROXY", "https_proxy"):
        click.echo(f'export {name}="{scheme}://coder:{token}@{settings.listen.for_clients}"')
    for name in ("NO_PROXY", "no_proxy"):
        click.echo(f"export {name}={','.join(direct_hosts(config))}")
    # Node adds this file to its own roots; the others replace theirs, and a tunnel needs those.
    click.echo(f"export NODE_EXTRA_CA_CERTS={_quoted(settings.ca.cert_file)}")
    bundle = _write_bundle(config, settings.ca)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        click.echo(f"export {name}={_quoted(bundle)}")


def _write_bundle(config: Config, files: CaFiles) -> Path:
    # Its module takes a moment to import.
    from authz.certificates.trust import system_roots

    bundle = config.state_folder / "ca-bundle.pem"
    if not write_bundle(bundle, files.cert_file, system_roots()):
        click.echo("authz: this system has no trusted roots: tunnels can't be verified", err=True)
    return bundle


def _quoted(path: Path) -> str:
    return shlex.quote(str(path.resolve()))
