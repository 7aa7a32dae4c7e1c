"""Announcements of budgets that are reached: a line of the log, and a notice for a webhook."""

from dataclasses import replace
from datetime import timedelta

import structlog

from authz.budgets.budget import State
from authz.budgets.money import dollars
from authz.budgets.shown import time_of
from authz.database.interface import Queries
from authz.identity.accounts import rfc3339
from authz.identity.store_notices import Notice, insert_notices
from authz.printable import printable

_log = structlog.get_logger(__name__)

BUDGET_REACHED = "budget.reached"
_KEEP = timedelta(days=1)
"""Clocks of replicas may differ by less."""


async def announce(
    transaction: Queries, state: State, percent: int, now_ms: int, *, notifies: bool
) -> State:
    """Note that a percentage of a budget is announced, and return the state after it.

    Args:
        transaction: the one that has read the state.
        state: of the budget.
        percent: one of ``THRESHOLDS`` that is not announced yet.
        now_ms: the time.
        notifies: also store a notice for the webhook.
    """
    await transaction.execute(
        "INSERT INTO budget_spending (budget_id, period_ms, spent, announced)"
        " VALUES ($1, $2, 0, $3) ON CONFLICT (budget_id, period_ms)"
        " DO UPDATE SET announced = excluded.announced",
        state.budget.id,
        state.begin_ms,
        percent,
    )
    after = replace(state, announced=percent)
    if notifies:
        await insert_notices(transaction, [_notice(after)], time_of(now_ms))
    return after


def log_announced(state: State) -> None:
    """Write the line of the log about the percentage that was announced last."""
    _log.warning("budget reached", **_fields(state))


def _fields(state: State) -> dict[str, object]:
    budget = state.budget
    return {
        "owner": str(budget.kind),
        "owner_id": budget.owner_id,
        "name": printable(budget.name),
        "period": str(budget.period),
        "percent": state.announced,
        "spent": dollars(state.spent),
        "amount": dollars(budget.limit),
        "hard": budget.hard,
        "starts_again_at": rfc3339(time_of(state.end_ms)),
    }


def _notice(state: State) -> Notice:
    budget = state.budget
    return Notice(
        # With the amount, since the same percentage of another amount is news.
        f"budget-{budget.id}-{state.begin_ms}-{budget.limit}-{state.announced}",
        BUDGET_REACHED,
        _fields(state),
        budget.id,
        time_of(state.end_ms) + _KEEP,
    )
