"""``authz usage``: requests and tokens by user, group, model and more."""

import sys
import time
from io import TextIOWrapper
from pathlib import Path

import click

from authz import lifetimes
from authz.cli.common import config_of_store, config_option, run_async
from authz.cli.completion import complete_group
from authz.cli.groups import AliasedGroup, example
from authz.cli.usage_export import export
from authz.cli.usage_output import show, tell_unpriced
from authz.errors import ConfigError
from authz.prices.current import open_book
from authz.usage.charges import priced
from authz.usage.costs import Unpriced
from authz.usage.entry import UsageEntry
from authz.usage.from_log import BadLine, read_line
from authz.usage.rows import Line
from authz.usage.service import open_usage_store
from authz.usage.sums import GROUPS

_BATCH = 5_000


@click.group(
    cls=AliasedGroup,
    invoke_without_command=True,
    epilog=example(
        "authz usage --by model --since 7d",
        "authz usage --by user -o csv > usage.csv",
        "authz usage --by model --group research",
        "authz usage --cost --by user --since 30d",
        "authz usage import access.log",
    ),
)
@click.option(
    "--by",
    type=click.Choice(list(GROUPS)),
    default="user",
    show_default=True,
    help="The property to sum by.",
)
@click.option(
    "--since",
    default="30d",
    show_default=True,
    help="How far to look back, such as 12h, 7d or 1y.",
)
@click.option(
    "--group",
    shell_complete=complete_group,
    help="Only requests of users who were in this group at the time.",
)
@click.option("--cost", "shows_cost", is_flag=True, help="Show costs, the highest first.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Output format.",
)
@config_option
@click.pass_context
def usage(
    context: click.Context,
    *,
    by: str,
    since: str,
    group: str | None,
    shows_cost: bool,
    output: str,
    config_path: Path | None,
) -> None:
    """Sum requests and tokens by user, group, model, provider and more.

    By group, a request counts for each group of its user at the time of the request.

    TOKENS IN counts all input tokens; CACHED is the part that came from the provider's cache.

    COST is that of requests with central keys, OWN KEYS that of requests with the users' own keys.
    NO PRICE counts requests whose cost is not known.
    """
    if context.invoked_subcommand is not None:
        return

    config = config_of_store(config_path)

    async def work() -> tuple[list[Line], int, list[Unpriced]]:
        store = await open_usage_store(config)
        try:
            unpriced = await store.costs.missing(since_ms) if shows_cost else []
            lines = await store.add_up(by, since_ms, group=group)
            return lines, await store.missing(), unpriced
        finally:
            await store.close()

    since_ms = _since_ms(since)
    lines, missing, unpriced = run_async(work())
    show(lines, by, output, since, shows_cost=shows_cost)
    if shows_cost:
        tell_unpriced(unpriced, config)
    if missing:
        click.echo(
            f"{missing} requests have no row yet: they are still open, or their record was lost. "
            "'authz usage import FILE' adds lost records from Envoy's access log.",
            err=True,
        )


@usage.command(
    "import", epilog=example("authz usage import access.log", "zcat log.gz | authz usage import -")
)
@click.argument("log", type=click.File("r", encoding="utf-8", errors="replace"))
@config_option
def import_log(log: TextIOWrapper, config_path: Path | None) -> None:
    """Add missing requests from Envoy's JSON access log; each request counts once.

    LOG is a file, or - for standard input. Lines that are not from Envoy are skipped.
    """
    run_async(_import(log, config_path))


@usage.command("price", epilog=example("authz usage price --since 90d"))
@click.option(
    "--since",
    default="90d",
    show_default=True,
    help="How far to look back, such as 12h, 7d or 1y.",
)
@config_option
def price(*, since: str, config_path: Path | None) -> None:
    """Compute the cost of recorded requests that have none, after a change of the prices.

    A cost that is known stays as it is.
    """
    since_ms = _since_ms(since)
    config = config_of_store(config_path)
    book = open_book(config)
    if book is None:
        raise ConfigError(["prices: is required to compute costs, and may be empty: prices: {}"])

    async def work() -> tuple[int, list[Unpriced]]:
        store = await open_usage_store(config)
        try:
            added = await store.costs.add(since_ms, book.cost)
            return added, await store.costs.missing(since_ms)
        finally:
            await store.close()

    added, unpriced = run_async(work())
    click.echo(f"Computed the cost of {added} requests.")
    tell_unpriced(unpriced, config)


def _since_ms(since: str) -> int:
    try:
        ago = lifetimes.parse(since)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None
    return int((time.time() - ago.total_seconds()) * 1000)


async def _import(log: TextIOWrapper, config_path: Path | None) -> None:
    config = config_of_store(config_path)
    book = open_book(config)
    store = await open_usage_store(config)
    lines = requests = added = bad = 0
    batch: list[UsageEntry] = []
    try:
        for line in log:
            lines += 1
            try:
                entry = read_line(line)
            except BadLine as error:
                bad += 1
                click.echo(f"line {lines}: {error}", err=True)
                continue
            if entry is not None:
                requests += 1
                batch.append(entry if book is None else priced(entry, book.cost))
            if len(batch) >= _BATCH:
                added += await store.add(batch)
                batch.clear()
                if sys.stderr.isatty():
                    click.echo(f"\r{lines} lines read", err=True, nl=False)
        added += await store.add(batch)
    finally:
        await store.close()
    click.echo(f"Read {lines} lines with {requests} requests; added {added} that were missing.")
    if bad:
        click.echo(f"Skipped {bad} lines, listed above.", err=True)
        raise click.exceptions.Exit(1)


usage.add_command(export)
