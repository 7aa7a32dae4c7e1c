"""A ledger whose clock a test sets, and budgets for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from authz.budgets.admin import BudgetStore
from authz.budgets.budget import Budget, State
from authz.budgets.ledger import Ledger, Outcome, Wanted
from authz.budgets.periods import Period
from authz.database.interface import Database, Queries
from authz.identity.owners import OwnerKind
from authz.identity.store import Store

FIRST_COST = 100
LIFE_MS = 60_000
NOON = 1_796_126_400_000
"""2026-12-01T12:00Z."""


@dataclass
class Clock:
    """A clock that stands still until the test moves it."""

    now_ms: int = NOON

    async def __call__(self, queries: Queries) -> int:
        return self.now_ms


def ledger_on(database: Database, clock: Clock, *, notifies: bool = False) -> Ledger:
    """Return a ledger that reserves 100 nano-dollars at first, for a minute."""
    return Ledger(database, first_cost=FIRST_COST, life_ms=LIFE_MS, notifies=notifies, now=clock)


async def user_budget(
    store: Store, limit: int, *, name: str = "alice", period: Period = Period.DAY, hard: bool = True
) -> Budget:
    """Create a user with a budget."""
    user = await store.create_user(name)
    budgets = store.part(BudgetStore)
    await budgets.prepare()
    return await budgets.set_budget(OwnerKind.USER, user.id, period, limit, hard=hard)


def wanted(number: int, *budgets: Budget, user: str = "u", provider: str = "p") -> Wanted:
    """Return a request of these budgets."""
    ids = tuple(sorted(one.id for one in budgets))
    return Wanted(f"a-{number:04d}", user, provider, ids)


async def ask(ledger: Ledger, *batch: Wanted) -> Sequence[Outcome]:
    """Reserve for requests and return the outcomes in their order."""
    outcomes = await ledger.reserve(batch)
    return [outcomes[one] for one in batch]


async def state_of(ledger: Ledger, budget: Budget) -> State:
    """Return the state of a budget now."""
    return (await ledger.states([budget]))[0]
