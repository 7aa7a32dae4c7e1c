"""A sliding window of a minute, in slots of one second.

A slot counts as long as a part of it lies within the last 60 seconds, so 61 slots count. A limit
is therefore never exceeded in any 60 seconds, wherever they begin, and an amount counts for at most
61 seconds.
"""

import math

SLOTS = 61
"""The slots that count, with the one of now."""


class Window:
    """The amounts of the last minute.

    A clock that goes back does not lose an amount: those of the future count as now.

    Args:
        text: the result of ``dump``; amounts of seconds, the oldest first.
    """

    __slots__ = ("_slots", "_total")

    def __init__(self, text: str = "") -> None:
        pairs = (pair.split(":") for pair in text.split())
        self._slots = {int(second): int(amount) for second, amount in pairs}
        self._total = sum(self._slots.values())

    def dump(self) -> str:
        """Return the amounts as text."""
        return " ".join(f"{second}:{amount}" for second, amount in self._slots.items())

    def total(self, now_ms: int) -> int:
        """Return the sum of the amounts that count."""
        self._advance(now_ms // 1000)
        return self._total

    def add(self, now_ms: int, amount: int) -> None:
        """Add an amount."""
        second = now_ms // 1000
        self._advance(second)
        self._slots[second] = self._slots.get(second, 0) + amount
        self._total += amount

    def wait_ms(self, now_ms: int, room: int) -> int:
        """Return the time until the sum is at most ``room``, if nothing is added meanwhile."""
        self._advance(now_ms // 1000)
        left, free_ms = self._total, now_ms
        for second, amount in self._slots.items():
            if left <= room:
                break
            left -= amount
            free_ms = (second + SLOTS) * 1000
        return free_ms - now_ms

    def _advance(self, now: int) -> None:
        slots = self._slots
        while slots and (first := next(iter(slots))) <= now - SLOTS:
            self._total -= slots.pop(first)
        if slots and next(reversed(slots)) > now:
            future = sum(slots.pop(second) for second in [one for one in slots if one > now])
            slots[now] = slots.get(now, 0) + future


def whole_seconds(wait_ms: int) -> int:
    """Return a wait for ``Retry-After``: never too early, and at least a second."""
    return max(1, math.ceil(wait_ms / 1000))
