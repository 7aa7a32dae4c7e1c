"""``authz providers test``."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import click

from authz.cli.common import config_option, example, output_option, print_rows, run_async
from authz.config.file import shown
from authz.config.loading import load
from authz.config.settings import Config, Provider
from authz.errors import ConfigError


@click.group(epilog=example("authz providers test"))
def providers() -> None:
    """The providers of gateway.yaml."""


@providers.command(epilog=example("authz providers test", "authz providers test openai"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 300),
    default=10.0,
    show_default=True,
    help="Seconds that each provider has for its answer.",
)
@output_option
@config_option
def test(*, names: tuple[str, ...], timeout: float, output: str, config_path: Path | None) -> None:
    """Ask each provider with the central key, and say what came back.

    One cheap request for each key, such as a list of models, and one more without it. Exits 1 when
    a key does not work. Where Envoy signs (AWS), only what is around the signature is checked.
    """
    # aiohttp takes a moment to import, which the other commands shall not wait for.
    from authz.cli.provider_probe import probe

    config = load(config_path)
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
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            problems.append(f"there is no provider {shown(name)}: {hint}")
    if problems:
        raise ConfigError(problems)
    return [known[name] for name in dict.fromkeys(names)] if names else list(config.providers)
