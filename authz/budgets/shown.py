"""A budget with its state as JSON values, for commands and the API."""

from datetime import UTC, datetime
from typing import Any

from authz.budgets.budget import State
from authz.budgets.money import dollars
from authz.identity.accounts import rfc3339
from authz.printable import printable


def state_json(state: State) -> dict[str, Any]:
    """Return a budget and what is spent of it; amounts are decimal texts in dollars."""
    budget = state.budget
    return {
        "id": budget.id,
        "owner": str(budget.kind),
        "owner_id": budget.owner_id,
        "name": printable(budget.name),
        "period": str(budget.period),
        "zone": budget.zone,
        "hard": budget.hard,
        "amount": _decimal(budget.limit),
        "spent": _decimal(state.spent),
        "reserved": _decimal(state.reserved),
        "began_at": rfc3339(time_of(state.begin_ms)),
        "starts_again_at": rfc3339(time_of(state.end_ms)),
    }


def time_of(ms: int) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _decimal(nano: int) -> str:
    return dollars(nano).removeprefix("$")
