"""``authz providers test``: one request to each provider with each central key."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import click

from authz.cli.common import config_option, output_option, print_rows, run_async
from authz.cli.completion import complete_provider
from authz.cli.groups import AliasedGroup, example
from authz.cli.waiting import told_if_slow
from authz.config.file import shown
from authz.config.loading import load
from authz.config.settings import Config, Provider
from authz.config.uses import Uses
from authz.errors import ConfigError


@click.group(cls=AliasedGroup, epilog=example("authz providers test"))
def providers() -> None:
    """Test the providers of gateway.yaml."""


@providers.command(epilog=example("authz providers test", "authz providers test openai"))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_provider)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 300),
    default=10.0,
    show_default=True,
    help="Seconds to wait for each provider's answer.",
)
@output_option
@config_option
def test(*, names: tuple[str, ...], timeout: float, output: str, config_path: Path | None) -> None:
    """Send a request to each provider with its central keys, and print the results.

    It sends one cheap request for each key, such as a list of models, and one without a key. It
    exits 1 if a key does not work. Where Envoy signs requests (AWS), it checks everything but the
    signature.
    """
    # Imported late: aiohttp takes a fifth of a second to import.
    from authz.cli.provider_probe import probe

    # The test itself names a key or a certificate that is not there, for the chosen providers.
    config = load(config_path, uses=Uses.NOTHING)
    with told_if_slow("waiting for the providers"):
        found = run_async(probe(config, _chosen(config, names), os.environ, timeout))
    print_rows(
        [
            {
                "PROVIDER": one.provider,
                "CREDENTIAL": one.key or "-",
                "STATUS": "-" if one.status is None else str(one.status),
                "RESULT": f"FAILED: {one.text}" if one.failed else one.text,
            }
            for one in found
        ],
        [
            {
                "provider": one.provider,
                "credential": one.key or None,
                "status": one.status,
                "ok": not one.failed,
                "result": one.text,
            }
            for one in found
        ],
        output,
        "gateway.yaml has no providers",
    )
    if any(one.failed for one in found):
        raise click.exceptions.Exit(1)


def _chosen(config: Config, names: Sequence[str]) -> list[Provider]:
    known = {provider.name: provider for provider in config.providers}
    problems = []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
            problems.append(f"unknown provider {shown(name)}: {hint}")
    if problems:
        raise ConfigError(problems)
    return [known[name] for name in dict.fromkeys(names)] if names else list(config.providers)
