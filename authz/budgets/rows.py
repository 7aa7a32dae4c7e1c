"""Reading of budgets and of their state, in a transaction or outside of one."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from authz.budgets.budget import Budget, State
from authz.budgets.periods import Period
from authz.database.interface import Dialect, Queries
from authz.identity.owners import NAMES, joins, read_owner

SELECT_BUDGETS = (
    "SELECT b.id, b.user_id, b.group_id, b.api_key_id, b.period, b.zone, b.amount, b.hard,"  # noqa: S608
    f" {NAMES} FROM budgets b {joins('b')} WHERE (u.deleted IS NULL OR u.deleted = false)"
)
_NOW_POSTGRESQL = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now"


def among(dialect: Dialect, column: str, place: int, kind: str = "text") -> str:
    """Return the condition that a column has one of the values of a list.

    Args:
        column: of the table.
        place: the number of the placeholder, whose argument is a list.
        kind: PostgreSQL's type of the column.
    """
    if dialect is Dialect.SQLITE:
        return f"{column} IN (SELECT value FROM json_each(${place}))"  # noqa: S608 - constants
    return f"{column} = ANY (${place}::{kind}[])"


async def read_now(queries: Queries) -> int:
    """Return the time in milliseconds, which is the database's where several machines use it."""
    if queries.dialect is Dialect.SQLITE:
        return int(time.time() * 1000)
    rows = await queries.fetch(_NOW_POSTGRESQL)
    return int(rows[0]["now"])


async def read_budgets(queries: Queries, ids: Iterable[str] | None = None) -> list[Budget]:
    """Return the budgets with these ids, or all of them, in the order of their ids."""
    if ids is None:
        rows = await queries.fetch(f"{SELECT_BUDGETS} ORDER BY b.id")
    else:
        condition = among(queries.dialect, "b.id", 1, "uuid")
        rows = await queries.fetch(
            f"{SELECT_BUDGETS} AND {condition} ORDER BY b.id", sorted(set(ids))
        )
    return [_budget(row) for row in rows]


async def read_states(queries: Queries, budgets: Sequence[Budget], now_ms: int) -> list[State]:
    """Return the state of each budget in its period at a time."""
    periods = [budget.bounds(now_ms) for budget in budgets]
    ids = sorted({budget.id for budget in budgets})
    begins = sorted({begin for begin, _ in periods})
    where = (
        f"WHERE {among(queries.dialect, 'budget_id', 1, 'uuid')}"
        f" AND {among(queries.dialect, 'period_ms', 2, 'bigint')}"
    )
    spent = await queries.fetch(
        f"SELECT budget_id, period_ms, spent AS sum, announced FROM budget_spending {where}",  # noqa: S608
        ids,
        begins,
    )
    # A reservation ends with its time, so that it needs no process that is still alive.
    reserved = await queries.fetch(
        "SELECT budget_id, period_ms, sum(amount) AS sum FROM budget_reservations"  # noqa: S608
        f" {where} AND charged IS NULL AND expires_ms > $3 GROUP BY budget_id, period_ms",
        ids,
        begins,
        now_ms,
    )
    spent_by, reserved_by = _sums(spent), _sums(reserved)
    announced = {(row["budget_id"], row["period_ms"]): int(row["announced"]) for row in spent}
    return [
        State(
            budget,
            begin,
            end,
            spent_by.get((budget.id, begin), 0),
            reserved_by.get((budget.id, begin), 0),
            announced.get((budget.id, begin), 0),
        )
        for budget, (begin, end) in zip(budgets, periods, strict=True)
    ]


def _sums(rows: Iterable[Any]) -> dict[tuple[str, int], int]:
    return {(row["budget_id"], row["period_ms"]): int(row["sum"]) for row in rows}


def _budget(row: Any) -> Budget:
    kind, owner_id, name = read_owner(row)
    return Budget(
        id=row["id"],
        kind=kind,
        owner_id=owner_id,
        name=name,
        period=Period(row["period"]),
        zone=row["zone"],
        limit=row["amount"],
        hard=bool(row["hard"]),
    )
