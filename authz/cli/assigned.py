"""``authz limits`` and ``authz models``: limits and rules for models in a running gateway."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import click

from authz.assigned.rule import (
    LIMITS,
    MODELS,
    AssignedRule,
    RuleKind,
    Value,
    check_value,
    words_of,
)
from authz.assigned.store import AssignedStore
from authz.cli.common import (
    config_of_store,
    config_option,
    opened_store,
    output_option,
    print_rows,
    run_async,
)
from authz.cli.groups import AliasedGroup, example
from authz.cli.owner_options import find_owner, owner_options
from authz.config.settings import Config
from authz.errors import ConfigError, StoreError
from authz.identity.owners import OwnerKind
from authz.identity.store import Store

_Need = Callable[[Config], None]
"""Raises ConfigError if the configuration does not use the rules."""
_ALIASES = {"ls": "list", "rm": "remove", "delete": "remove"}
_OPTIONS = {
    RuleKind.REQUESTS: "--requests-per-minute",
    RuleKind.TOKENS: "--tokens-per-minute",
    RuleKind.CONCURRENT: "--concurrent-requests",
}


@click.group(
    cls=AliasedGroup,
    aliases=_ALIASES,
    epilog=example(
        "authz limits set --user alice --requests-per-minute 60",
        "authz limits set --group research --tokens-per-minute 2000000",
        "authz limits list",
    ),
)
def limits() -> None:
    """Set limits over all replicas of a user, a group or a token.

    They replace those of limits.shared in gateway.yaml, one by one.
    """


@limits.command(
    "set",
    epilog=example(
        "authz limits set --user alice --requests-per-minute 60 --concurrent-requests 4",
        "authz limits set --user ci --token nightly --tokens-per-minute 100000",
    ),
)
@owner_options
@click.option("--requests-per-minute", type=int, metavar="N", help="Requests in any 60 seconds.")
@click.option(
    "--tokens-per-minute", type=int, metavar="N", help="Input and output tokens in any 60 seconds."
)
@click.option("--concurrent-requests", type=int, metavar="N", help="Requests in progress.")
@config_option
def set_(
    user: str | None,
    group: str | None,
    token: str | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrent_requests: int | None,
    config_path: Path | None,
) -> None:
    """Set limits, which every process holds within 2 seconds."""
    given = dict(
        zip(LIMITS, (requests_per_minute, tokens_per_minute, concurrent_requests), strict=True)
    )
    values = {kind: value for kind, value in given.items() if value is not None}
    if not values:
        raise click.UsageError(f"name a limit: {', '.join(_OPTIONS.values())}")
    needs_usage = any(kind is not RuleKind.REQUESTS for kind in values)
    _set(user, group, token, values, config_path, _need_usage if needs_usage else _need_limits)


@limits.command("list", epilog=example("authz limits list", "authz limits ls -o json"))
@output_option
@config_option
def list_limits(output: str, config_path: Path | None) -> None:
    """List the limits that were set by command or on the page."""
    _list(LIMITS, output, config_path, _need_limits)


@limits.command(
    "remove",
    epilog=example(
        "authz limits remove --user alice",
        "authz limits rm --group research --limit tokens_per_minute",
    ),
)
@owner_options
@click.option(
    "--limit",
    "kind",
    type=click.Choice([str(one) for one in LIMITS]),
    help="The limit. Default: all that were set for the owner.",
)
@config_option
def remove_limits(
    user: str | None,
    group: str | None,
    token: str | None,
    kind: str | None,
    config_path: Path | None,
) -> None:
    """Remove limits of an owner; those of gateway.yaml count again within 2 seconds."""
    kinds = LIMITS if kind is None else (RuleKind(kind),)
    _remove(user, group, token, kinds, config_path, "limits", _need_limits)


@click.group(
    cls=AliasedGroup,
    aliases=_ALIASES,
    epilog=example(
        "authz models allow 'claude-haiku-*' --group contractors",
        "authz models deny '*opus*' --user bob",
        "authz models list",
    ),
)
def models() -> None:
    """Set which models a user, a group or a token may use.

    They count together with the rules of gateway.yaml, which needs 'models: {assigned: true}'.
    """


@models.command(epilog=example("authz models allow 'claude-haiku-*' 'gpt-*-mini' --user bob"))
@click.argument("globs", nargs=-1, required=True, metavar="MODEL...")
@owner_options
@config_option
def allow(
    globs: tuple[str, ...],
    user: str | None,
    group: str | None,
    token: str | None,
    config_path: Path | None,
) -> None:
    """Allow these MODELs and no others. * stands for any text and ? for one character.

    It replaces what was allowed for this owner before.
    """
    _set(user, group, token, {RuleKind.ALLOW: globs}, config_path, _need_models)


@models.command(epilog=example("authz models deny '*opus*' --group contractors"))
@click.argument("globs", nargs=-1, required=True, metavar="MODEL...")
@owner_options
@config_option
def deny(
    globs: tuple[str, ...],
    user: str | None,
    group: str | None,
    token: str | None,
    config_path: Path | None,
) -> None:
    """Refuse these MODELs. * stands for any text and ? for one character.

    It replaces what was denied for this owner before.
    """
    _set(user, group, token, {RuleKind.DENY: globs}, config_path, _need_models)


@models.command("list", epilog=example("authz models list", "authz models ls -o json"))
@output_option
@config_option
def list_models(output: str, config_path: Path | None) -> None:
    """List the rules for models that were set by command or on the page."""
    _list(MODELS, output, config_path, _need_models)


@models.command("remove", epilog=example("authz models remove --user bob"))
@owner_options
@config_option
def remove_models(
    user: str | None, group: str | None, token: str | None, config_path: Path | None
) -> None:
    """Remove the rules for models of an owner, effective within 2 seconds."""
    _remove(user, group, token, MODELS, config_path, "rules for models", _need_models)


def _need_limits(config: Config) -> None:
    if config.limits.shared is None:
        raise ConfigError(
            ["limits.shared: is not set, so no limit would hold: add it (docs/limits.md)"]
        )


def _need_usage(config: Config) -> None:
    _need_limits(config)
    if not config.usage.enabled:
        raise ConfigError(
            ["usage.enabled: is false, but limits of tokens and concurrent requests need it"]
        )


def _need_models(config: Config) -> None:
    if config.models is None or not config.models.assigned:
        raise ConfigError(
            ["models.assigned: is not true, so no rule would hold (docs/model-rules.md)"]
        )


def _set(
    user: str | None,
    group: str | None,
    token: str | None,
    values: Mapping[RuleKind, Value],
    config_path: Path | None,
    need: _Need,
) -> None:
    for kind, value in values.items():
        try:
            check_value(kind, value)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    async def work() -> None:
        config = config_of_store(config_path)
        need(config)
        async with _opened(config) as (store, found):
            owner = await find_owner(store, user, group, token)
            for rule in await found.set_rules(owner.kind, owner.id, values):
                click.echo(f"{owner.shown}: {rule.kind} is now {words_of(rule.value)}.")

    run_async(work())


def _list(kinds: Sequence[RuleKind], output: str, config_path: Path | None, need: _Need) -> None:
    async def work() -> None:
        config = config_of_store(config_path)
        need(config)
        async with _opened(config) as (_, found):
            rules = await found.list_rules(kinds)
        rows = [
            {
                "OWNER": str(one.owner),
                "NAME": _name(one),
                "RULE": str(one.kind),
                "VALUE": words_of(one.value),
            }
            for one in rules
        ]
        print_rows(rows, [one.as_json() for one in rules], output, "None found.")

    run_async(work())


def _remove(
    user: str | None,
    group: str | None,
    token: str | None,
    kinds: Sequence[RuleKind],
    config_path: Path | None,
    what: str,
    need: _Need,
) -> None:
    async def work() -> None:
        config = config_of_store(config_path)
        need(config)
        async with _opened(config) as (store, found):
            owner = await find_owner(store, user, group, token)
            gone = 0
            for rule in await found.list_rules(kinds):
                if (rule.owner, rule.owner_id) == (owner.kind, owner.id):
                    gone += await found.remove_rule(rule)
                    click.echo(f"{owner.shown}: {rule.kind} {words_of(rule.value)} is removed.")
            if not gone:
                command = "limits" if kinds[0] in LIMITS else "models"
                raise StoreError(
                    f"{owner.shown} has no such {what}: 'authz {command} list' shows all"
                )

    run_async(work())


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Store, AssignedStore]]:
    """Open the store and its rules, whose table is created if it is missing."""
    async with opened_store(config.identity) as store:
        found = store.part(AssignedStore)
        await found.prepare()
        yield store, found


def _name(rule: AssignedRule) -> str:
    if rule.owner is OwnerKind.TOKEN:
        # Several users may have a token of this name.
        return f"{rule.name} ({rule.owner_id})".strip()
    return rule.name
