"""Reservations and spending: each batch is one transaction, so replicas never count past a limit.

A reservation is taken before a request passes. The record of the request replaces it by the cost.
Without a record the reservation ends with its time.
"""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from authz.budgets.announcements import announce
from authz.budgets.budget import Budget, State, learn, refusing
from authz.budgets.rows import among, read_budgets, read_now, read_states
from authz.database.interface import Database, Dialect, Queries, Transaction

KEEP_MS = 7 * 86_400_000
"""The time after the end of a reservation for which a late record still finds it."""

_COLUMNS = {
    "request_id": "text",
    "budget_id": "uuid",
    "period_ms": "bigint",
    "user_id": "text",
    "provider": "text",
    "amount": "bigint",
    "expires_ms": "bigint",
}
_CHARGE = (
    "UPDATE budget_reservations SET charged = coalesce(CAST(j.value AS bigint), amount)"
    " FROM {each} AS j WHERE request_id = j.key AND charged IS NULL"
    " RETURNING request_id, budget_id, period_ms, charged, user_id, provider"
)
_EACH = {Dialect.SQLITE: "json_each($1)", Dialect.POSTGRESQL: "jsonb_each_text($1::jsonb)"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that wants to pass.

    Attributes:
        request_id: the id that authz gave it; no client can choose it.
        budget_ids: the budgets of its user, groups and token, sorted.
        at_most: nano-dollars to reserve; None reserves the usual cost.
    """

    request_id: str
    user_id: str
    provider: str
    budget_ids: tuple[str, ...]
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """The request may pass.

    Attributes:
        amount: nano-dollars.
    """

    amount: int


@dataclass(frozen=True, slots=True)
class Spent:
    """A hard budget has no room for the request.

    Attributes:
        amount: the nano-dollars that the request wanted to reserve.
        now_ms: the time of the decision.
        is_news: whether this is the first refusal of the period, which announces the budget.
    """

    state: State
    amount: int
    now_ms: int
    is_news: bool = False


Outcome = Reserved | Spent


@dataclass(frozen=True, slots=True)
class Settled:
    """The result of records.

    Attributes:
        requests: the number of requests that were settled.
        announced: the budgets of which a further percentage was announced.
    """

    requests: int
    announced: tuple[State, ...] = ()


class Ledger:
    """The spending of budgets in a database.

    Args:
        database: has the tables of ``schema.prepare``. The ledger does not close it.
        first_cost: the nano-dollars that are reserved before the first cost is known.
        life_ms: the time after which a reservation without a record ends.
        notifies: store notices of budgets that are reached.
        now: returns the time in milliseconds; by default the database's.
    """

    def __init__(
        self,
        database: Database,
        *,
        first_cost: int,
        life_ms: int,
        notifies: bool = False,
        now: Callable[[Queries], Awaitable[int]] = read_now,
    ) -> None:
        self._database = database
        self._first_cost = first_cost
        self._life_ms = life_ms
        self._notifies = notifies
        self._now = now

    async def reserve(self, batch: Sequence[Wanted]) -> dict[Wanted, Outcome]:
        """Reserve the usual cost of each request or the most that it can cost, or refuse it.

        A request that has a reservation gets no second one.

        Raises:
            StoreError: the database can't be used.
        """
        return await self._database.transact(partial(self._reserve, batch))

    async def settle(self, costs: Mapping[str, int | None]) -> Settled:
        """Replace the reservations of requests by what the requests cost.

        A second record of a request changes nothing. A record that comes after the end of its
        reservation counts in full.

        Args:
            costs: nano-dollars by request id; None where the cost is unknown, then the amount that
                was reserved counts.

        Raises:
            StoreError: the database can't be used.
        """
        if any(cost is not None and cost < 0 for cost in costs.values()):
            raise ValueError("a cost is never negative")
        return await self._database.transact(partial(self._settle, costs))

    async def states(self, budgets: Sequence[Budget]) -> list[State]:
        """Return what is spent and reserved of budgets now."""
        return await read_states(self._database, budgets, await self._now(self._database))

    async def prune(self) -> int:
        """Delete the rows of reservations that ended ``KEEP_MS`` ago, and return their number."""
        now_ms = await self._now(self._database)
        return await self._database.execute(
            "DELETE FROM budget_reservations WHERE expires_ms < $1", now_ms - KEEP_MS
        )

    async def _reserve(
        self, batch: Sequence[Wanted], transaction: Transaction
    ) -> dict[Wanted, Outcome]:
        # The time is read under the lock of the transaction, so it is in the order of batches.
        now_ms = await self._now(transaction)
        budgets = await read_budgets(transaction, {i for one in batch for i in one.budget_ids})
        states = {one.budget.id: one for one in await read_states(transaction, budgets, now_ms)}
        amounts = await self._usual_costs(transaction, batch)
        existing = await self._existing(transaction, batch)
        outcomes: dict[Wanted, Outcome] = {}
        rows: list[tuple[str | int | None, ...]] = []
        for wanted in batch:
            if wanted.request_id in existing:
                outcomes[wanted] = Reserved(existing[wanted.request_id])
                continue
            amount = wanted.at_most
            if amount is None:
                amount = amounts.get((wanted.user_id, wanted.provider), self._first_cost)
            mine = [states[i] for i in wanted.budget_ids if i in states]
            if (state := refusing(mine, amount)) is not None:
                # A budget that refuses counts as used up, also where a rest is left.
                # A bound is far above the usual cost, so it says little about the rest.
                is_news = (
                    wanted.at_most is None
                    and state.announced < 100
                    and not state.fits_later(amount)
                )
                if is_news:
                    state = await self._announce(transaction, state, 100, now_ms)
                    states[state.budget.id] = state
                outcomes[wanted] = Spent(state, amount, now_ms, is_news)
                continue
            outcomes[wanted] = Reserved(amount)
            existing[wanted.request_id] = amount
            for one in mine:
                states[one.budget.id] = replace(one, reserved=one.reserved + amount)
                rows.append(_row(wanted, one, amount, now_ms + self._life_ms))
        if rows:
            await transaction.insert("budget_reservations", _COLUMNS, rows)
        return outcomes

    async def _settle(self, costs: Mapping[str, int | None], transaction: Transaction) -> Settled:
        rows = await transaction.fetch(
            _CHARGE.format(each=_EACH[transaction.dialect]), json.dumps(dict(costs))
        )
        sums: defaultdict[tuple[str, int], int] = defaultdict(int)
        learned: dict[str, tuple[str, str]] = {}
        for row in rows:
            sums[row["budget_id"], row["period_ms"]] += row["charged"]
            learned[row["request_id"]] = row["user_id"], row["provider"]
        for (budget_id, period_ms), charged in sorted(sums.items()):
            await transaction.execute(
                "INSERT INTO budget_spending (budget_id, period_ms, spent) VALUES ($1, $2, $3)"
                " ON CONFLICT (budget_id, period_ms)"
                " DO UPDATE SET spent = budget_spending.spent + excluded.spent",
                budget_id,
                period_ms,
                charged,
            )
        await self._learn(transaction, learned, costs)
        announced = await self._announce_reached(transaction, sums) if sums else ()
        return Settled(len(learned), announced)

    async def _announce_reached(
        self, transaction: Transaction, changed: Iterable[tuple[str, int]]
    ) -> tuple[State, ...]:
        """Announce the changed budgets of which a further percentage is spent."""
        changed = set(changed)
        now_ms = await self._now(transaction)
        budgets = await read_budgets(transaction, {budget_id for budget_id, _ in changed})
        announced = []
        for state in await read_states(transaction, budgets, now_ms):
            # A late record of an earlier period is no news.
            is_current = (state.budget.id, state.begin_ms) in changed
            if is_current and state.reached > state.announced:
                announced.append(await self._announce(transaction, state, state.reached, now_ms))
        return tuple(announced)

    async def _announce(
        self, transaction: Transaction, state: State, percent: int, now_ms: int
    ) -> State:
        return await announce(transaction, state, percent, now_ms, notifies=self._notifies)

    async def _existing(self, queries: Queries, batch: Sequence[Wanted]) -> dict[str, int]:
        condition = among(queries.dialect, "request_id", 1)
        rows = await queries.fetch(
            f"SELECT request_id, amount FROM budget_reservations WHERE {condition}",  # noqa: S608
            [one.request_id for one in batch],
        )
        return {row["request_id"]: row["amount"] for row in rows}

    async def _usual_costs(
        self, queries: Queries, batch: Sequence[Wanted]
    ) -> dict[tuple[str, str], int]:
        return await self._costs_of(queries, {one.user_id for one in batch})

    async def _costs_of(self, queries: Queries, users: set[str]) -> dict[tuple[str, str], int]:
        condition = among(queries.dialect, "user_id", 1)
        rows = await queries.fetch(
            f"SELECT user_id, provider, cost FROM budget_usual_costs WHERE {condition}",  # noqa: S608
            sorted(users),
        )
        return {(row["user_id"], row["provider"]): row["cost"] for row in rows}

    async def _learn(
        self,
        transaction: Transaction,
        learned: Mapping[str, tuple[str, str]],
        costs: Mapping[str, int | None],
    ) -> None:
        # A list of models costs nothing. It says nothing about the cost of the next message.
        paid = [(pair, cost) for id_, pair in learned.items() if (cost := costs[id_])]
        if not paid:
            return
        usual = await self._costs_of(transaction, {user for (user, _), _ in paid})
        for pair, cost in paid:
            usual[pair] = learn(usual.get(pair), cost)
        for user, provider in sorted({pair for pair, _ in paid}):
            await transaction.execute(
                "INSERT INTO budget_usual_costs (user_id, provider, cost) VALUES ($1, $2, $3)"
                " ON CONFLICT (user_id, provider) DO UPDATE SET cost = excluded.cost",
                user,
                provider,
                usual[user, provider],
            )


def _row(wanted: Wanted, state: State, amount: int, expires_ms: int) -> tuple[str | int, ...]:
    return (
        wanted.request_id,
        state.budget.id,
        state.begin_ms,
        wanted.user_id,
        wanted.provider,
        amount,
        expires_ms,
    )
