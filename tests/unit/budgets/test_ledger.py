"""authz.budgets.ledger: reservations, records and their faults, on each database."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from authz.budgets.admin import BudgetStore
from authz.budgets.budget import Budget
from authz.budgets.ledger import KEEP_MS, Ledger, Reserved, Spent
from authz.budgets.periods import Period
from authz.budgets.rows import read_now
from authz.budgets.schema import prepare
from authz.errors import StoreError
from authz.identity.open import open_database, open_store
from authz.identity.owners import OwnerKind
from authz.identity.store import Store
from tests.support.postgres import PostgresServer

from .support import FIRST_COST, LIFE_MS, NOON, Clock, ask, ledger_on, state_of, user_budget, wanted

_DAY_MS = 86_400_000
_TABLES = (
    "budget_usual_costs", "budget_reservations", "budget_spending", "budgets", "budgets_schema"
)  # fmt: skip


@pytest.fixture
def clock() -> Clock:
    """The clock of all ledgers of a test."""
    return Clock()


@pytest.fixture
async def ledger(any_store: Store, clock: Clock) -> Ledger:
    """A ledger in the database of the store, which has learned no cost."""
    await prepare(any_store._database)
    # Tests share a PostgreSQL database, in which only the tables of identity are emptied.
    await any_store._database.execute("DELETE FROM budget_usual_costs")
    return ledger_on(any_store._database, clock)


async def _figures(ledger: Ledger, budget: Budget) -> tuple[int, int]:
    state = await state_of(ledger, budget)
    return state.spent, state.reserved


@pytest.mark.usefixtures("ledger")
async def test_replicas_that_race_for_the_last_cent_spend_it_once(
    any_store: Store, store_url: str
) -> None:
    """Of forty requests at two replicas, exactly as many pass as the budget has room for."""
    budget = await user_budget(any_store, 7 * FIRST_COST)
    databases = [await open_database(store_url) for _ in range(2)]
    try:
        replicas = [Ledger(one, first_cost=FIRST_COST, life_ms=LIFE_MS) for one in databases]
        outcomes = await asyncio.gather(
            *(ask(replicas[number % 2], wanted(number, budget)) for number in range(40))
        )
    finally:
        for database in databases:
            await database.close()
    assert sum(isinstance(outcome, Reserved) for (outcome,) in outcomes) == 7


@pytest.mark.usefixtures("ledger")
async def test_strict_reservations_are_never_exceeded(any_store: Store, store_url: str) -> None:
    """Two replicas reserve bounds and settle costs up to them: never more than the budget is spent.

    A bound that has no room announces nothing, because the rest may be large.
    """
    limit = 1_000
    budget = await user_budget(any_store, limit)
    databases = [await open_database(store_url) for _ in range(2)]
    passed = refused = 0
    try:
        replicas = [Ledger(one, first_cost=1, life_ms=LIFE_MS) for one in databases]
        for turn in range(8):
            batch = [
                replace(wanted(8 * turn + number, budget), at_most=(37 * number + 50 * turn) % 300)
                for number in range(8)
            ]
            outcomes = await asyncio.gather(
                *(ask(replicas[number % 2], one) for number, one in enumerate(batch))
            )
            costs = {}
            for one, (outcome,) in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Reserved):
                    assert outcome.amount == one.at_most
                    costs[one.request_id] = outcome.amount // (1 + turn % 3)
                    passed += 1
                else:
                    assert not outcome.is_news
                    refused += 1
            state = await state_of(replicas[0], budget)
            assert state.spent + state.reserved <= limit
            await replicas[turn % 2].settle(costs)
            state = await state_of(replicas[1], budget)
            assert (state.spent <= limit, state.reserved) == (True, 0)
    finally:
        for database in databases:
            await database.close()
    assert passed > 8
    assert refused > 8


async def test_a_batch_counts_its_own_requests(any_store: Store, ledger: Ledger) -> None:
    """Requests of one batch share what is left, in their order."""
    budget = await user_budget(any_store, 2 * FIRST_COST)
    outcomes = await ask(ledger, *(wanted(number, budget) for number in range(3)))
    assert [type(one) for one in outcomes] == [Reserved, Reserved, Spent]


async def test_a_request_is_reserved_once(any_store: Store, ledger: Ledger) -> None:
    """A request that is reserved again, also in the same batch, counts once."""
    budget = await user_budget(any_store, FIRST_COST)
    again = wanted(1, budget, provider="other")
    for outcome in (
        *await ask(ledger, wanted(1, budget), again),
        *await ask(ledger, wanted(1, budget)),
    ):
        assert outcome == Reserved(FIRST_COST)
    assert await _figures(ledger, budget) == (0, FIRST_COST)


async def test_a_record_replaces_the_reservation_once(any_store: Store, ledger: Ledger) -> None:
    """A record returns the unused part of its reservation; a second one changes nothing."""
    budget = await user_budget(any_store, 1000)
    await ask(ledger, wanted(1, budget))
    assert (await ledger.settle({"a-0001": 30, "unknown": 5})).requests == 1
    assert (await ledger.settle({"a-0001": 900})).requests == 0
    assert await _figures(ledger, budget) == (30, 0)


async def test_a_record_without_a_cost_counts_what_was_reserved(
    any_store: Store, ledger: Ledger
) -> None:
    """If the cost is unknown, the reserved amount is spent."""
    budget = await user_budget(any_store, 1000)
    await ask(ledger, wanted(1, budget))
    await ledger.settle({"a-0001": None})
    assert await _figures(ledger, budget) == (FIRST_COST, 0)


async def test_a_reservation_of_a_dead_replica_ends_by_itself(
    any_store: Store, ledger: Ledger, clock: Clock
) -> None:
    """A reservation without a record blocks the budget for its time and no longer."""
    budget = await user_budget(any_store, FIRST_COST)
    await ask(ledger, wanted(1, budget))
    clock.now_ms += LIFE_MS - 1
    assert isinstance((await ask(ledger, wanted(2, budget)))[0], Spent)
    clock.now_ms += 1
    assert isinstance((await ask(ledger, wanted(3, budget)))[0], Reserved)


async def test_a_late_record_counts_in_full(any_store: Store, ledger: Ledger, clock: Clock) -> None:
    """A record that comes after the end of its reservation is spent, until its row is deleted."""
    budget = await user_budget(any_store, 1000, period=Period.MONTH)
    await ask(ledger, wanted(1, budget), wanted(2, budget))
    clock.now_ms += 2 * LIFE_MS
    await ledger.settle({"a-0001": 70})
    assert await _figures(ledger, budget) == (70, 0)
    assert await ledger.prune() == 0
    clock.now_ms += KEEP_MS
    assert await ledger.prune() == 2
    assert (await ledger.settle({"a-0001": 70, "a-0002": 70})).requests == 0
    assert await _figures(ledger, budget) == (70, 0)


async def test_a_clock_that_jumps_loses_nothing(
    any_store: Store, ledger: Ledger, clock: Clock
) -> None:
    """After a jump to another day and back, what was spent on the first day still counts."""
    budget = await user_budget(any_store, FIRST_COST)
    await ask(ledger, wanted(1, budget))
    await ledger.settle({"a-0001": FIRST_COST})
    for jump in (_DAY_MS, -2 * _DAY_MS):
        clock.now_ms += jump
        assert await _figures(ledger, budget) == (0, 0)
    clock.now_ms = NOON
    assert isinstance((await ask(ledger, wanted(2, budget)))[0], Spent)


async def test_a_stream_belongs_to_the_period_in_which_it_began(
    any_store: Store, ledger: Ledger, clock: Clock
) -> None:
    """A request that ends in the next month is spent in its own, and the next one begins empty."""
    clock.now_ms = NOON - _DAY_MS // 2 - 1
    budget = await user_budget(any_store, 150, period=Period.MONTH)
    await ask(ledger, wanted(1, budget))
    (refused,) = await ask(ledger, wanted(2, budget))
    assert isinstance(refused, Spent)
    assert refused.state.end_ms - refused.now_ms == 1
    clock.now_ms += 1
    assert isinstance((await ask(ledger, wanted(3, budget)))[0], Reserved)
    await ledger.settle({"a-0001": 140})
    assert await _figures(ledger, budget) == (0, FIRST_COST)
    clock.now_ms -= 1
    assert await _figures(ledger, budget) == (140, 0)


async def test_the_usual_cost_follows_what_requests_cost(any_store: Store, ledger: Ledger) -> None:
    """A reservation rises fast and falls slowly with the costs of its user and provider."""
    budget = await user_budget(any_store, 100_000)
    amounts = []
    for number, cost in enumerate((800, 1600, 400, 0, None)):
        (reserved,) = await ask(ledger, wanted(number, budget))
        amounts.append(reserved.amount)
        await ledger.settle({f"a-{number:04d}": cost})
    others = await ask(ledger, wanted(9, budget), wanted(10, budget, provider="q"))
    amounts += [one.amount for one in others]
    assert amounts == [FIRST_COST, 800, 1200, 1100, 1100, 1100, FIRST_COST]


async def test_the_tightest_budget_refuses(any_store: Store, ledger: Ledger) -> None:
    """If one of several hard budgets is full, it refuses and the others reserve nothing."""
    wide = await user_budget(any_store, 1000)
    budgets = any_store.part(BudgetStore)
    group = await any_store.create_group("research")
    tight = await budgets.set_budget(OwnerKind.GROUP, group.id, Period.MONTH, FIRST_COST)
    await ask(ledger, wanted(1, wide, tight))
    (refused,) = await ask(ledger, wanted(2, wide, tight))
    assert isinstance(refused, Spent)
    assert refused.state.budget == tight
    assert await _figures(ledger, wide) == (0, FIRST_COST)


async def test_a_soft_budget_lets_requests_pass(any_store: Store, ledger: Ledger) -> None:
    """A request passes a soft budget without room, and counts."""
    budget = await user_budget(any_store, 150, hard=False)
    outcomes = await ask(ledger, wanted(1, budget), wanted(2, budget))
    assert outcomes == [Reserved(FIRST_COST)] * 2
    assert await _figures(ledger, budget) == (0, 2 * FIRST_COST)


async def test_a_request_in_progress_stays_with_its_group(any_store: Store, ledger: Ledger) -> None:
    """A person who moves to another group takes new requests there, and leaves the old ones."""
    old = await user_budget(any_store, 1000, name="old")
    new = await user_budget(any_store, 1000, name="new")
    await ask(ledger, wanted(1, old))
    await ask(ledger, wanted(2, new))
    await ledger.settle({"a-0001": 10, "a-0002": 20})
    assert [await _figures(ledger, one) for one in (old, new)] == [(10, 0), (20, 0)]


async def test_a_changed_limit_counts_at_once(any_store: Store, ledger: Ledger) -> None:
    """A new limit keeps what is spent, and a removed budget refuses nothing."""
    budget = await user_budget(any_store, FIRST_COST)
    budgets = any_store.part(BudgetStore)
    await ask(ledger, wanted(1, budget))
    raised = await budgets.set_budget(
        OwnerKind.USER, budget.owner_id, Period.DAY, 2 * FIRST_COST, zone="UTC"
    )
    assert raised.id == budget.id
    assert [type(one) for one in await ask(ledger, wanted(2, budget), wanted(3, budget))] == [
        Reserved,
        Spent,
    ]
    assert await budgets.remove_budget(raised)
    assert isinstance((await ask(ledger, wanted(4, budget)))[0], Reserved)
    assert (await ledger.settle({"a-0001": 5})).requests == 0
    assert not await budgets.remove_budget(raised)
    actions = [
        (entry.change.action, entry.change.resource, entry.change.fields["amount"])
        for entry in await any_store.audit_entries(datetime(2020, 1, 1, tzinfo=UTC), None)
        if entry.change.resource == "budget"
    ]
    assert actions == [
        ("write", "budget", "$0.0000001"),
        ("write", "budget", "$0.0000002"),
        ("delete", "budget", "$0.0000002"),
    ]


async def test_a_negative_cost_is_refused(ledger: Ledger) -> None:
    """Spending never falls below zero, because no cost is negative."""
    with pytest.raises(ValueError, match="never negative"):
        await ledger.settle({"a-0001": -1})


async def test_a_budget_has_an_owner_a_zone_and_an_amount(any_store: Store) -> None:
    """A budget for a missing owner, an unknown time zone or an impossible amount is refused."""
    budget = await user_budget(any_store, 1000)
    budgets = any_store.part(BudgetStore)
    for owner_id, amount, zone, why in (
        (budget.id, 1, "UTC", "deleted meanwhile"),
        (budget.owner_id, 0, "UTC", "greater than 0"),
        (budget.owner_id, 1, "Mars/Olympus", "time zone"),
    ):
        with pytest.raises(StoreError, match=why):
            await budgets.set_budget(OwnerKind.USER, owner_id, Period.DAY, amount, zone=zone)
    assert await budgets.list_budgets() == [budget]


async def test_tables_are_created_once(any_store: Store) -> None:
    """Two processes that start at once create the tables once."""
    for table in _TABLES:
        await any_store._database.execute(f"DROP TABLE IF EXISTS {table}")
    made = await asyncio.gather(*(prepare(any_store._database) for _ in range(2)))
    assert sorted(made) == [False, True]


async def test_the_database_has_the_time(any_store: Store) -> None:
    """All replicas use the database's time, which is close to this machine's."""
    assert abs(await read_now(any_store._database) - time.time() * 1000) < 600_000


async def test_nothing_passes_while_the_database_is_away(
    own: str, postgres: PostgresServer, clock: Clock
) -> None:
    """A reservation fails while PostgreSQL is down, and works again with it."""
    store = await open_store(postgres.url(own), create=False)
    try:
        budget = await user_budget(store, 1000)
        ledger = ledger_on(store._database, clock)
        postgres.kill()
        try:
            with pytest.raises(StoreError):
                await ask(ledger, wanted(1, budget))
        finally:
            postgres.start()
        assert isinstance((await ask(ledger, wanted(1, budget)))[0], Reserved)
    finally:
        await store.close()
