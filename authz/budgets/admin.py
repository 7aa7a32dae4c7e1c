"""Setting and removing budgets, with the audit log."""

import uuid
from collections.abc import Sequence

from authz.budgets.budget import Budget, State, reached
from authz.budgets.money import MAXIMUM, dollars
from authz.budgets.periods import Period, open_zone
from authz.budgets.rows import read_budgets, read_now, read_states
from authz.budgets.schema import prepare
from authz.database.interface import Queries
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import User
from authz.identity.audit import Action, Change, Resource
from authz.identity.owners import COLUMNS, OwnerKind, name_of
from authz.identity.store import Store
from authz.identity.store_base import StoreBase


class BudgetStore(StoreBase):
    """The budgets in a database with the identity tables."""

    async def prepare(self) -> bool:
        """Create the tables if they are missing; return whether anything changed."""
        return await prepare(self._database)

    async def list_budgets(self) -> list[Budget]:
        """Return all budgets."""
        return await read_budgets(self._database)

    async def list_states(self) -> list[State]:
        """Return what is spent and reserved of all budgets now, in the order of their owners."""
        states = await self.states_of(await self.list_budgets())
        return sorted(states, key=lambda one: (one.budget.kind, one.budget.name, one.budget.id))

    async def states_of(self, budgets: Sequence[Budget]) -> list[State]:
        """Return what is spent and reserved of budgets now."""
        return await read_states(self._database, budgets, await read_now(self._database))

    async def states_for(self, user: User, store: Store) -> list[State]:
        """Return the state of each budget that a request of a user may count for.

        Args:
            user: has budgets of their own, and those of their groups and tokens.
            store: the store beside these budgets.
        """
        keys = await store.list_tokens(user, include_expired=False)
        groups = await store.groups_of(user)
        owners = {
            (OwnerKind.USER, user.id),
            *((OwnerKind.GROUP, group.id) for group in groups),
            *((OwnerKind.TOKEN, key.id) for key in keys),
        }
        states = await self.list_states()
        return [one for one in states if (one.budget.kind, one.budget.owner_id) in owners]

    async def find_budget(self, budget_id: str) -> Budget | None:
        """Return a budget by its id, or None."""
        try:
            wanted = str(uuid.UUID(budget_id))
        except ValueError:
            return None
        found = await read_budgets(self._database, [wanted])
        return found[0] if found else None

    async def set_budget(
        self,
        kind: OwnerKind,
        owner_id: str,
        period: Period,
        amount: int,
        *,
        zone: str = "UTC",
        hard: bool = True,
    ) -> Budget:
        """Set the budget of an owner, and keep what is spent of it.

        An owner has at most one hard and one soft budget for each period. Another time zone moves
        the begin of the period, so that what was spent since the old begin no longer counts.

        Args:
            owner_id: the id of a user, a group or a token.
            amount: nano-dollars.
            zone: the time zone in which the period begins.

        Raises:
            StoreError: the owner does not exist, or the amount or time zone is not possible.
        """
        if not 0 < amount <= MAXIMUM:
            raise StoreError("an amount must be greater than 0 and at most 1000000000 dollars")
        try:
            open_zone(zone)
        except ValueError as error:
            raise StoreError(str(error)) from None
        column = COLUMNS[kind]
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            name = await name_of(transaction, kind, owner_id)
            rows = await transaction.fetch(
                f"INSERT INTO budgets (id, {column}, period, zone, amount, hard)"  # noqa: S608
                f" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT ({column}, period, hard)"
                " DO UPDATE SET zone = excluded.zone, amount = excluded.amount RETURNING id",
                str(uuid.uuid4()),
                owner_id,
                str(period),
                zone,
                amount,
                hard,
            )
            await self._limit_announced(transaction, rows[0]["id"], amount)
            budget = Budget(rows[0]["id"], kind, owner_id, name, period, zone, amount, hard)
            await self._note_budget(transaction, Action.WRITE, budget)
        return budget

    async def remove_budget(self, budget: Budget) -> bool:
        """Remove a budget with what is spent of it; return whether it still existed."""
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            gone = await transaction.execute("DELETE FROM budgets WHERE id = $1", budget.id)
            if gone:
                await self._note_budget(transaction, Action.DELETE, budget)
        return bool(gone)

    async def _limit_announced(self, transaction: Queries, budget_id: str, amount: int) -> None:
        """Let the percentages that a higher amount has not reached be announced again."""
        rows = await transaction.fetch(
            "SELECT period_ms, spent, announced FROM budget_spending"
            " WHERE budget_id = $1 AND announced > 0",
            budget_id,
        )
        for row in rows:
            await transaction.execute(
                "UPDATE budget_spending SET announced = $1 WHERE budget_id = $2 AND period_ms = $3",
                min(row["announced"], reached(row["spent"], amount)),
                budget_id,
                row["period_ms"],
            )

    async def _note_budget(self, transaction: Queries, action: Action, budget: Budget) -> None:
        fields = {
            "owner": str(budget.kind),
            "owner_id": budget.owner_id,
            "period": str(budget.period),
            "zone": budget.zone,
            "amount": dollars(budget.limit),
            "hard": budget.hard,
        }
        username = budget.name if budget.kind is OwnerKind.USER else ""
        change = Change(action, Resource.BUDGET, budget.id, budget.name, username, fields)
        await audit.record(transaction, self._actor, change)
