"""``authz budgets``: amounts that users, groups and tokens may spend."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from authz.budgets.admin import BudgetStore
from authz.budgets.budget import Budget, State
from authz.budgets.money import dollars, parse_dollars
from authz.budgets.periods import Period, open_zone
from authz.budgets.shown import state_json, time_of
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
from authz.config.budgets import Budgets
from authz.config.settings import Config
from authz.errors import ConfigError, StoreError
from authz.identity.owners import OwnerKind
from authz.identity.store import Store

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _period_options(command: _Command) -> _Command:
    """Add ``--per`` and ``--soft``."""
    soft = click.option("--soft", is_flag=True, help="The budget that warns and refuses nothing.")
    per = click.option(
        "--per",
        "period",
        type=click.Choice([str(one) for one in Period]),
        required=True,
        help="The time in which the amount may be spent.",
    )
    return per(soft(command))


@click.group(
    cls=AliasedGroup,
    aliases={"ls": "list", "rm": "remove", "delete": "remove"},
    epilog=example(
        "authz budgets set 100 --user alice --per month",
        "authz budgets set 500 --group research --per month --soft",
        "authz budgets list",
    ),
)
def budgets() -> None:
    """Set what users, groups and tokens may spend in a day, a week or a month.

    Only requests with a central key count. All budgets of a request have to have room for it.
    """


@budgets.command(
    "set",
    epilog=example(
        "authz budgets set 100 --user alice --per month",
        "authz budgets set 2.50 --token ci --user ci --per day --zone Europe/Berlin",
    ),
)
@click.argument("amount", metavar="DOLLARS")
@owner_options
@_period_options
@click.option(
    "--zone",
    metavar="ZONE",
    help="The time zone in which the period begins, such as Europe/Berlin. "
    "Default: budgets.zone of gateway.yaml.",
)
@config_option
def set_(
    amount: str,
    user: str | None,
    group: str | None,
    token: str | None,
    period: str,
    soft: bool,
    zone: str | None,
    config_path: Path | None,
) -> None:
    """Set a budget of DOLLARS, which every process holds within 2 seconds.

    It counts from now on. Another amount for the same owner and period keeps what is spent.
    """
    try:
        limit = parse_dollars(amount)
        if zone is not None:
            open_zone(zone)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None

    async def work() -> None:
        config = config_of_store(config_path)
        settings = _settings(config)
        async with _opened(config) as (store, found):
            owner = await find_owner(store, user, group, token)
            budget = await found.set_budget(
                owner.kind,
                owner.id,
                Period(period),
                limit,
                zone=zone or settings.zone,
                hard=not soft,
            )
            (state,) = await found.states_of([budget])
            click.echo(
                f"{owner.shown} may spend {_limit(budget)}. {dollars(state.spent)} is spent; "
                f"it starts again on {_again(state)}."
            )

    run_async(work())


@budgets.command("list", epilog=example("authz budgets list", "authz budgets ls -o json"))
@output_option
@config_option
def list_(output: str, config_path: Path | None) -> None:
    """List all budgets with what is spent and reserved now."""

    async def work() -> None:
        async with _opened(config_of_store(config_path)) as (_, found):
            _print(await found.list_states(), output)

    run_async(work())


@budgets.command(
    epilog=example("authz budgets show --user alice", "authz budgets show --group research")
)
@owner_options
@output_option
@config_option
def show(
    user: str | None, group: str | None, token: str | None, output: str, config_path: Path | None
) -> None:
    """Show the budgets of an owner, with what is spent, reserved, and when they start again.

    For a user these are all that a request may count for: also those of the user's groups and
    tokens.
    """

    async def work() -> None:
        async with _opened(config_of_store(config_path)) as (store, found):
            owner = await find_owner(store, user, group, token)
            if owner.kind is OwnerKind.USER:
                states = await found.states_for(await store.get_user(user or ""), store)
            else:
                states = [
                    one
                    for one in await found.list_states()
                    if (one.budget.kind, one.budget.owner_id) == (owner.kind, owner.id)
                ]
            _print(states, output)

    run_async(work())


@budgets.command(
    epilog=example(
        "authz budgets remove --user alice --per month",
        "authz budgets rm --group research --per month --soft",
    )
)
@owner_options
@_period_options
@config_option
def remove(
    user: str | None,
    group: str | None,
    token: str | None,
    period: str,
    soft: bool,
    config_path: Path | None,
) -> None:
    """Remove a budget with what is spent of it, effective within 2 seconds."""

    async def work() -> None:
        async with _opened(config_of_store(config_path)) as (store, found):
            owner = await find_owner(store, user, group, token)
            wanted = (owner.kind, owner.id, Period(period), not soft)
            for budget in await found.list_budgets():
                if (budget.kind, budget.owner_id, budget.period, budget.hard) == wanted:
                    await found.remove_budget(budget)
                    click.echo(f"{owner.shown} no longer has a budget of {_limit(budget)}.")
                    return
            raise StoreError(
                f"{owner.shown} has no {'soft' if soft else 'hard'} budget for a {period}: "
                "'authz budgets list' shows all"
            )

    run_async(work())


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[tuple[Store, BudgetStore]]:
    """Open the store and its budgets, whose tables are created if they are missing."""
    _settings(config)
    async with opened_store(config.identity) as store:
        found = store.part(BudgetStore)
        await found.prepare()
        yield store, found


def _settings(config: Config) -> Budgets:
    if config.budgets is None:
        raise ConfigError(
            ["budgets: is not set, so no budget would hold: add 'budgets: {}' (docs/budgets.md)"]
        )
    return config.budgets


def _print(states: Sequence[State], output: str) -> None:
    rows = [
        {
            "OWNER": str(state.budget.kind),
            "NAME": _name(state.budget),
            "AMOUNT": dollars(state.budget.limit),
            "PER": str(state.budget.period),
            "KIND": "hard" if state.budget.hard else "soft",
            "SPENT": dollars(state.spent),
            "RESERVED": dollars(state.reserved),
            "STARTS AGAIN": _again(state),
        }
        for state in states
    ]
    print_rows(rows, [state_json(state) for state in states], output, "No budgets found.")


def _name(budget: Budget) -> str:
    if budget.kind is OwnerKind.TOKEN:
        # Several users may have a token of this name.
        return f"{budget.name} ({budget.owner_id})".strip()
    return budget.name


def _limit(budget: Budget) -> str:
    kind = "" if budget.hard else " (soft)"
    return f"{dollars(budget.limit)} a {budget.period}{kind}"


def _again(state: State) -> str:
    zone = open_zone(state.budget.zone)
    return f"{time_of(state.end_ms).astimezone(zone):%Y-%m-%d %H:%M} ({state.budget.zone})"
