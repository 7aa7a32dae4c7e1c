"""``authz audit``: the changes to users, groups and tokens."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from authz.cli.common import (
    config_option,
    identity_of,
    opened_store,
    output_option,
    print_rows,
    run_async,
)
from authz.cli.completion import complete_user
from authz.cli.groups import AliasedGroup, example
from authz.cli.token_parameters import Lifetime
from authz.identity.audit import Entry

_OVERLAP = timedelta(minutes=1)
"""The longest time between the time of an entry and its commit."""
_POLL_SECONDS = 2.0
_NO_ID = "00000000-0000-0000-0000-000000000000"


@click.group(
    cls=AliasedGroup,
    invoke_without_command=True,
    epilog=example(
        "authz audit --since 7d",
        "authz audit --user alice -o json",
        "authz audit export --follow",
    ),
)
@click.option(
    "--since",
    type=Lifetime(),
    default="7d",
    show_default=True,
    help="How far to look back, such as 12h or 30d.",
)
@click.option(
    "-u",
    "--user",
    shell_complete=complete_user,
    help="Show only what this user did, and changes to this user.",
)
@output_option
@config_option
@click.pass_context
def audit(
    context: click.Context,
    *,
    since: timedelta,
    user: str | None,
    output: str,
    config_path: Path | None,
) -> None:
    """Show changes to users, groups and tokens, and sign-ins; oldest first."""
    if context.invoked_subcommand is not None:
        return

    async def work() -> None:
        async with opened_store(identity_of(config_path)) as store:
            found = await store.audit_entries(_begin(since), user)
            rows = [_row(entry) for entry in found]
            objects = [entry.as_json() for entry in found]
            print_rows(rows, objects, output, "No entries found.")

    run_async(work())


@audit.command(
    epilog=example("authz audit export --since 30d > audit.jsonl", "authz audit export --follow")
)
@click.option(
    "--since",
    type=Lifetime(),
    help="How far to look back, such as 12h or 30d. Default: all entries.",
)
@click.option("--follow", is_flag=True, help="Wait for further entries, until interrupted.")
@config_option
def export(since: timedelta | None, *, follow: bool, config_path: Path | None) -> None:
    """Print the audit log as JSON lines, oldest first.

    The fields are those of 'authz audit -o json'.
    """
    run_async(_export(_begin(since or timedelta.max), follow, config_path))


async def _export(begin: datetime, follow: bool, config_path: Path | None) -> None:
    printed: dict[str, datetime] = {}
    async with opened_store(identity_of(config_path)) as store:
        while True:
            time, last = begin, _NO_ID
            while entries := await store.audit_entries_after(time, last):
                for entry in entries:
                    if entry.id not in printed:
                        click.echo(json.dumps(entry.as_json()))
                        if follow:
                            printed[entry.id] = entry.time
                time, last = entries[-1].time, entries[-1].id
            if not follow:
                return
            begin = max(begin, min(time, datetime.now(UTC)) - _OVERLAP)
            printed = {one: at for one, at in printed.items() if at >= begin}
            await asyncio.sleep(_POLL_SECONDS)


def _begin(since: timedelta) -> datetime:
    now = datetime.now(UTC)
    earliest = datetime(1970, 1, 1, tzinfo=UTC)
    return max(now - since, earliest) if since < now - earliest else earliest


def _row(entry: Entry) -> dict[str, str]:
    actor, change = entry.actor, entry.change
    with_key = f" ({actor.api_key_id})" if actor.api_key_id else ""
    what = f"{change.resource} {change.target or change.resource_id}".strip()
    if change.resource == "api_key":
        what = f"{what} ({change.resource_id}) of {change.username}"
    elif change.resource == "group" and change.username:
        what = f"{what} and user {change.username}"
    return {
        "TIME": f"{entry.time:%Y-%m-%dT%H:%M:%SZ}",
        "WHO": f"{actor.name or actor.kind}{with_key}",
        "FROM": actor.ip or "command line",
        "ACTION": change.action,
        "WHAT": what,
        "MORE": json.dumps(dict(change.fields)) if change.fields else "",
    }
