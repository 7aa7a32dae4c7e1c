"""authz.budgets.budget: room in a budget, and the usual cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.budgets.budget import Budget, State, learn, refusing
from authz.budgets.periods import Period
from authz.identity.owners import OwnerKind


def _state(limit: int, spent: int, reserved: int = 0, *, hard: bool = True, end: int = 1) -> State:
    budget = Budget("b", OwnerKind.USER, "u", "alice", Period.DAY, "UTC", limit, hard)
    return State(budget, 0, end, spent, reserved)


@pytest.mark.parametrize(
    ("limit", "spent", "reserved", "amount", "fits"),
    [(10, 4, 3, 3, True), (10, 4, 3, 4, False), (10, 10, 0, 0, False), (10, 12, 0, 1, False)],
)
def test_a_budget_has_room_up_to_its_limit(
    limit: int, spent: int, reserved: int, amount: int, fits: bool
) -> None:
    """A request may use the last nano-dollar; a used-up budget lets no request pass."""
    assert _state(limit, spent, reserved).fits(amount) == fits


def test_the_budget_that_starts_again_last_is_named() -> None:
    """If several hard budgets have no room, the one that starts again last refuses."""
    day, month, soft = _state(1, 1, end=1), _state(1, 1, end=9), _state(1, 1, hard=False, end=99)
    assert refusing([day, month, soft], 1) is month
    assert refusing([soft], 1) is None


@given(st.integers(1, 10**18), st.lists(st.integers(1, 10**18), max_size=20))
def test_the_usual_cost_stays_among_the_costs(first: int, costs: list[int]) -> None:
    """The usual cost is never below the lowest nor above the highest cost so far."""
    usual = learn(None, first)
    for cost in costs:
        usual = learn(usual, cost)
    assert min(first, *costs, first) <= usual <= max(first, *costs, first)
