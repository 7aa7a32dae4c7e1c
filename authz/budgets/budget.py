"""A budget, and the decision whether a request fits into it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from authz.budgets.periods import Period, bounds, open_zone
from authz.identity.owners import OwnerKind

LEARNING = 8
"""A cost moves the usual cost by one part in this number."""
THRESHOLDS = (50, 85, 100)
"""The percentages of a budget that are announced."""


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount that a user, a group or a token may spend in a period.

    Attributes:
        id: a UUID.
        owner_id: the UUID of a user or a group, or the token's 10 characters.
        name: the name of the user, group or token, for people.
        zone: the name of the time zone in which the period begins.
        limit: nano-dollars.
        hard: whether it refuses; a soft one only warns.
    """

    id: str
    kind: OwnerKind
    owner_id: str
    name: str
    period: Period
    zone: str
    limit: int
    hard: bool = True

    def bounds(self, now_ms: int) -> tuple[int, int]:
        """Return the begin of the period at a time, and of the next one, in milliseconds."""
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        begin, end = bounds(self.period, open_zone(self.zone), now)
        return int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000


@dataclass(frozen=True, slots=True)
class State:
    """A budget in the period of now.

    Attributes:
        begin_ms: when the period began.
        end_ms: when the next period begins.
        spent: nano-dollars of the requests whose cost is known.
        reserved: nano-dollars for requests in progress.
        announced: the highest percentage of ``THRESHOLDS`` that was announced, or 0.
    """

    budget: Budget
    begin_ms: int
    end_ms: int
    spent: int
    reserved: int
    announced: int = 0

    @property
    def used(self) -> int:
        """The nano-dollars that are spent or reserved."""
        return self.spent + self.reserved

    def fits(self, amount: int) -> bool:
        """Return whether the budget has room for an amount."""
        # A request that usually costs nothing must not pass a budget that is used up either.
        return self.used + amount <= self.budget.limit and self.used < self.budget.limit

    def fits_later(self, amount: int) -> bool:
        """Return whether there would be room for an amount if nothing were reserved."""
        return self.spent + amount <= self.budget.limit and self.spent < self.budget.limit

    @property
    def reached(self) -> int:
        """The highest percentage of ``THRESHOLDS`` that is spent, or 0."""
        return reached(self.spent, self.budget.limit)


def reached(spent: int, limit: int) -> int:
    """Return the highest percentage of ``THRESHOLDS`` of a limit that is spent, or 0."""
    return max((one for one in THRESHOLDS if spent * 100 >= limit * one), default=0)


def refusing(states: Iterable[State], amount: int) -> State | None:
    """Return the budget that refuses an amount, or None if all hard ones have room for it.

    If several refuse, it is the one that starts again last: earlier retries fail in any case.
    """
    without_room = [one for one in states if one.budget.hard and not one.fits(amount)]
    return max(without_room, key=lambda one: one.end_ms, default=None)


def learn(usual: int | None, cost: int) -> int:
    """Return the usual cost after a request, from the usual cost before it.

    It rises at once to half of a higher cost, and falls slowly, because a reservation that is too
    low lets the budget be exceeded, and one that is too high is given back.
    """
    if usual is None:
        return cost
    step = cost - usual
    return usual + (step // 2 if step > 0 else -(-step // LEARNING))
