"""The text of a refusal by a budget, and the time after which a client may try again."""

from datetime import UTC, datetime

from authz.budgets.budget import Budget
from authz.budgets.ledger import Spent
from authz.budgets.money import dollars
from authz.budgets.periods import Period, open_zone
from authz.identity.owners import OwnerKind
from authz.printable import printable

SOON_SECONDS = 5
"""The time after which requests in progress may have given back what they did not need."""

_NOW = {Period.DAY: "today", Period.WEEK: "this week", Period.MONTH: "this month"}


def no_room(spent: Spent) -> tuple[dict[str, object], int]:
    """Return the fields of the refusal's message, and the seconds of ``Retry-After``."""
    state = spent.state
    budget = state.budget
    again = datetime.fromtimestamp(state.end_ms / 1000, UTC).astimezone(open_zone(budget.zone))
    fields: dict[str, object] = {
        "owner": owner_of(budget),
        "used": dollars(state.used),
        "limit": dollars(budget.limit),
        "period": _NOW[budget.period],
        "amount": dollars(spent.amount),
        "again": f"{again:%Y-%m-%d %H:%M} ({budget.zone})",
    }
    until_end = -(-(state.end_ms - spent.now_ms) // 1000)
    is_soon = state.fits_later(spent.amount)
    return fields, min(SOON_SECONDS, until_end) if is_soon else until_end


def owner_of(budget: Budget) -> str:
    """Return the owner of a budget for a person, such as ``group "research"``."""
    if budget.kind is OwnerKind.TOKEN and not budget.name:
        return "this session"
    return f'{budget.kind} "{printable(budget.name)}"'
