"""authz.budgets.announcements: each percentage once a period, whichever replica sees it."""

import asyncio
import json

import pytest

from authz.budgets.admin import BudgetStore
from authz.budgets.budget import Budget, reached
from authz.budgets.ledger import Ledger, Spent
from authz.budgets.periods import Period
from authz.identity.open import open_database
from authz.identity.owners import OwnerKind
from authz.identity.store import Store

from .support import FIRST_COST, Clock, ask, ledger_on, user_budget, wanted

_DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("spent", "percent"), [(0, 0), (49, 0), (50, 50), (84, 50), (85, 85), (99, 85), (100, 100)]
)
def test_a_percentage_is_reached_when_it_is_spent(spent: int, percent: int) -> None:
    """The highest percentage reached counts, starting at exactly its amount."""
    assert reached(spent * 10**7, 10**9) == percent
    assert reached(10**18, 1) == 100


async def _prepared(store: Store, limit: int, *, hard: bool = True) -> tuple[Budget, Ledger, Clock]:
    """Return a budget, and a ledger that stores notices of it."""
    await store.part(BudgetStore).prepare()
    await store._database.execute("DELETE FROM budget_usual_costs")
    await store._database.execute("DELETE FROM notices")
    clock = Clock()
    budget = await user_budget(store, limit, hard=hard)
    return budget, ledger_on(store._database, clock, notifies=True), clock


async def _noted(store: Store) -> list[tuple[int, str]]:
    """Return the percentages and amounts spent in the stored notices."""
    rows = await store._database.fetch("SELECT body FROM notices ORDER BY created_at, id")
    bodies = [json.loads(row["body"])["data"] for row in rows]
    return sorted((one["percent"], one["spent"]) for one in bodies)


async def _spend(ledger: Ledger, budget: Budget, number: int, cost: int) -> list[int]:
    """Reserve and settle a request, and return the percentages that were announced."""
    await ask(ledger, wanted(number, budget))
    return [one.announced for one in (await ledger.settle({f"a-{number:04d}": cost})).announced]


async def test_each_percentage_is_announced_once(any_store: Store) -> None:
    """A soft budget is announced at 50, 85 and 100 percent, and not again above."""
    budget, ledger, _ = await _prepared(any_store, 10**9, hard=False)
    costs = (400_000_000, 100_000_000, 340_000_000, 20_000_000, 140_000_000, 500_000_000)
    said = [await _spend(ledger, budget, number, cost) for number, cost in enumerate(costs)]
    assert said == [[], [50], [], [85], [100], []]
    assert await _noted(any_store) == [(50, "$0.50"), (85, "$0.86"), (100, "$1.00")]


async def test_replicas_announce_a_percentage_together_once(
    any_store: Store, store_url: str
) -> None:
    """If two replicas settle at once, one of them announces each percentage that both reach."""
    budget, ledger, clock = await _prepared(any_store, 10 * FIRST_COST, hard=False)
    await ask(ledger, *(wanted(number, budget) for number in range(2)))
    databases = [await open_database(store_url) for _ in range(2)]
    try:
        replicas = [ledger_on(database, clock, notifies=True) for database in databases]
        both = await asyncio.gather(
            *(
                replica.settle({f"a-{number:04d}": 8 * FIRST_COST})
                for number, replica in enumerate(replicas)
            )
        )
    finally:
        for database in databases:
            await database.close()
    assert sorted(state.announced for one in both for state in one.announced) == [50, 100]
    assert [percent for percent, _ in await _noted(any_store)] == [50, 100]


async def test_a_budget_that_refuses_is_used_up(any_store: Store) -> None:
    """If the rest is too small for a request, the first refusal announces 100 percent."""
    budget, ledger, clock = await _prepared(any_store, 10**9)
    assert await _spend(ledger, budget, 1, 990_000_000) == [85]
    outcomes = await ask(ledger, wanted(2, budget), wanted(3, budget))
    assert [isinstance(one, Spent) and one.is_news for one in outcomes] == [True, False]
    assert await _noted(any_store) == [(85, "$0.99"), (100, "$0.99")]
    clock.now_ms += _DAY_MS
    assert await _spend(ledger, budget, 4, 990_000_000) == [85]


async def test_reservations_alone_announce_nothing(any_store: Store) -> None:
    """Reservations alone announce nothing, since they may be given back within seconds."""
    budget, ledger, _ = await _prepared(any_store, FIRST_COST)
    outcomes = await ask(ledger, wanted(1, budget), wanted(2, budget))
    assert isinstance(outcomes[1], Spent)
    assert not outcomes[1].is_news
    assert await _noted(any_store) == []


async def test_a_higher_amount_is_announced_again(any_store: Store) -> None:
    """A new amount announces its percentages again; setting the same amount again does not."""
    budget, ledger, _ = await _prepared(any_store, 100, hard=False)
    assert await _spend(ledger, budget, 1, 90) == [85]
    budgets = any_store.part(BudgetStore)
    for amount in (200, 200):
        await budgets.set_budget(OwnerKind.USER, budget.owner_id, Period.DAY, amount, hard=False)
    assert await _spend(ledger, budget, 2, 79) == [50]
    assert await _spend(ledger, budget, 3, 1) == [85]


async def test_a_late_record_of_another_day_is_no_news(any_store: Store) -> None:
    """A record that fills the budget of yesterday announces nothing today."""
    budget, ledger, clock = await _prepared(any_store, FIRST_COST, hard=False)
    await ask(ledger, wanted(1, budget))
    clock.now_ms += _DAY_MS
    assert (await ledger.settle({"a-0001": FIRST_COST})).announced == ()
    assert await _noted(any_store) == []
