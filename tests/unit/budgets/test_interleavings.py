"""authz.budgets.ledger against a model: random interleavings of replicas, records and clocks."""

import asyncio
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.budgets.budget import Budget, learn
from authz.budgets.ledger import Reserved, Wanted
from authz.identity.open import open_database, open_store

from .support import FIRST_COST, LIFE_MS, NOON, Clock, ask, ledger_on, state_of, user_budget

_DAY_MS = 86_400_000
_REPLICAS = st.integers(0, 1)
_NUMBERS = st.integers(0, 7)
_STEPS = st.one_of(
    st.tuples(st.just("reserve"), _REPLICAS, _NUMBERS),
    st.tuples(st.just("settle"), _REPLICAS, _NUMBERS, st.none() | st.integers(0, 400)),
    # A minute is the life of a reservation. The clock also goes back, and to the next day.
    st.tuples(st.just("clock"), st.sampled_from([LIFE_MS // 2, LIFE_MS, -LIFE_MS, _DAY_MS // 2])),
)


@dataclass
class _Request:
    amount: int
    day: int
    expires_ms: int
    charged: int | None = None
    has_ended: bool = False


@dataclass
class _Model:
    """The right figures, computed from all requests instead of from sums."""

    limit: int
    now_ms: int = NOON
    usual: int | None = None
    requests: dict[int, _Request] = field(default_factory=dict)
    bounds: dict[int, int] = field(default_factory=dict)

    @property
    def day(self) -> int:
        return self.now_ms // _DAY_MS

    def spent(self, day: int) -> int:
        return sum(one.charged or 0 for one in self.requests.values() if one.day == day)

    @property
    def reserved(self) -> int:
        return sum(one.amount for one in self.requests.values() if self._is_reserved(one))

    def _is_reserved(self, one: _Request) -> bool:
        return one.day == self.day and one.charged is None and one.expires_ms > self.now_ms

    def move(self, change: int) -> None:
        self.now_ms += change
        for one in self.requests.values():
            one.has_ended = one.has_ended or one.expires_ms <= self.now_ms

    def reserve(self, number: int) -> bool:
        if number in self.requests:
            return True
        amount = FIRST_COST if self.usual is None else self.usual
        used = self.spent(self.day) + self.reserved
        if used >= self.limit or used + amount > self.limit:
            return False
        self.requests[number] = _Request(amount, self.day, self.now_ms + LIFE_MS)
        return True

    def settle(self, number: int, cost: int | None) -> None:
        request = self.requests.get(number)
        if request is None or request.charged is not None:
            return
        request.charged = request.amount if cost is None else cost
        # The stated overshoot: what a request cost above its reservation, or all of it if the
        # reservation had ended, even if the clock went back after that.
        held = 0 if request.has_ended else request.amount
        over = max(0, request.charged - held)
        self.bounds[request.day] = self.bounds.get(request.day, 0) + over
        if cost:
            self.usual = learn(self.usual, cost)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite store for all examples, each of which has a budget of its own."""
    path: Path = tmp_path_factory.mktemp("budgets") / "identity.db"
    return f"sqlite:///{path}"


@settings(max_examples=25)
@given(limit=st.integers(1, 1500), steps=st.lists(_STEPS, min_size=5, max_size=30))
def test_any_interleaving_keeps_the_budget(
    url: str, limit: int, steps: list[tuple[Any, ...]]
) -> None:
    """Two replicas agree with the model after each step, and every reservation ends.

    What is spent is never negative, and never above the budget plus the stated overshoot.
    """
    asyncio.run(_run(url, limit, steps))


async def _run(url: str, limit: int, steps: list[tuple[Any, ...]]) -> None:
    store = await open_store(url, create=True)
    databases = [await open_database(url) for _ in range(2)]
    try:
        name = uuid.uuid4().hex
        budget = await user_budget(store, limit, name=name)
        clock, model = Clock(), _Model(limit)
        replicas = [ledger_on(database, clock) for database in databases]
        for kind, *values in steps:
            match kind, values:
                case "reserve", [replica, number]:
                    (outcome,) = await ask(replicas[replica], _wanted(name, number, budget))
                    assert isinstance(outcome, Reserved) == model.reserve(number)
                case "settle", [replica, number, cost]:
                    await replicas[replica].settle({f"{name}-{number}": cost})
                    model.settle(number, cost)
                case _, [change]:
                    clock.now_ms += change
                    model.move(change)
            state = await state_of(replicas[0], budget)
            assert (state.spent, state.reserved) == (model.spent(model.day), model.reserved)
            assert 0 <= state.spent <= limit + model.bounds.get(model.day, 0)
        clock.now_ms = max([NOON, *(one.expires_ms for one in model.requests.values())])
        assert (await state_of(replicas[1], budget)).reserved == 0
    finally:
        for database in databases:
            await database.close()
        await store.close()


def _wanted(name: str, number: int, budget: Budget) -> Wanted:
    return Wanted(f"{name}-{number}", name, "p", (budget.id,))
