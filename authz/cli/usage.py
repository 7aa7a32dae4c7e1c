"""``authz usage``: requests and tokens by user, group, model, provider, token or mode."""

import csv
import json
import sys
import time
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path

import click

from authz import lifetimes
from authz.cli.common import config_of_store, config_option, print_rows, run_async
from authz.cli.completion import complete_group
from authz.cli.groups import AliasedGroup, example
from authz.printable import csv_cell
from authz.usage.entry import UsageEntry
from authz.usage.from_log import BadLine, read_line
from authz.usage.service import open_usage_store
from authz.usage.store import GROUPS, Line

_BATCH = 5_000


@click.group(
    cls=AliasedGroup,
    invoke_without_command=True,
    epilog=example(
        "authz usage --by model --since 7d",
        "authz usage --by user -o csv > usage.csv",
        "authz usage --by model --group research",
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
    output: str,
    config_path: Path | None,
) -> None:
    """Sum requests and tokens by user, group, model, provider, token or mode.

    By group, a request counts for each group of its user at the time of the request.

    TOKENS IN counts all input tokens; CACHED is the part that came from the provider's cache.
    """
    if context.invoked_subcommand is not None:
        return

    async def work() -> tuple[list[Line], int]:
        store = await open_usage_store(config_of_store(config_path))
        try:
            return await store.add_up(by, since_ms, group=group), await store.missing()
        finally:
            await store.close()

    try:
        ago = lifetimes.parse(since)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None
    since_ms = int((time.time() - ago.total_seconds()) * 1000)
    lines, missing = run_async(work())
    _print(lines, by, output, since)
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


async def _import(log: TextIOWrapper, config_path: Path | None) -> None:
    store = await open_usage_store(config_of_store(config_path))
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
                batch.append(entry)
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


def _print(lines: list[Line], by: str, output: str, since: str) -> None:
    if output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([by, *(name for name in Line.__dataclass_fields__ if name != "key")])
        writer.writerows(map(csv_cell, map(str, asdict(line).values())) for line in lines)
        return
    objects = [
        {by: line.key, **{k: v for k, v in asdict(line).items() if k != "key"}} for line in lines
    ]
    if output == "json":
        click.echo(json.dumps(objects, indent=2))
        return
    rows = [
        {
            by.upper(): line.key or "-",
            "REQUESTS": f"{line.requests:,}",
            "REFUSED": f"{line.refusals:,}",
            "TOKENS IN": f"{line.input_tokens:,}",
            "CACHED": f"{line.cached_tokens:,}",
            "TOKENS OUT": f"{line.output_tokens:,}",
            "NOT KNOWN": f"{line.unknown:,}",
        }
        for line in lines
    ]
    print_rows(rows, objects, "table", f"No requests were recorded in the last {since}.")
