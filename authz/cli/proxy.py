"""``authz proxy ca`` and ``authz proxy env``."""

from pathlib import Path

import click

from authz.cli.common import config_option, example
from authz.config import load
from authz.errors import ConfigError
from authz.proxy.settings import Proxy


@click.group()
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
    from authz.proxy.ca import make_ca

    files = (load(config_path).proxy or Proxy()).ca
    make_ca(files.cert_file, files.key_file, name)
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
    settings = load(config_path).proxy
    if settings is None:
        raise ConfigError(["proxy: the proxy is off: add `proxy: {}` to gateway.yaml"])
    scheme = "http" if settings.tls is None else "https"
    certificate = settings.ca.cert_file.resolve()
    click.echo(f'export HTTPS_PROXY="{scheme}://coder:{token}@{settings.listen.for_clients}"')
    # Node and Python replace their own roots by some of these, so a tunnel needs the others too.
    click.echo(f'export NODE_EXTRA_CA_CERTS="{certificate}"')
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        click.echo(f'export {name}="{certificate}"')
