"""The decision on a batch of requests, for the places whose counts Python keeps."""

from collections.abc import Callable, Sequence
from typing import Protocol

from authz.limits.limit import PASSED, LimitKind, Outcome, Reached, Wanted
from authz.limits.window import Window


class Counts(Protocol):
    """The counts of all limits that a batch needs."""

    windows: dict[str, Window]
    """The amounts of the last minute, by key."""
    open: dict[str, int]
    """The number of requests in progress, by key."""


def admit(
    counts: Counts, batch: Sequence[Wanted], now_ms: int, opened: Callable[[Wanted], None]
) -> dict[Wanted, Outcome]:
    """Decide on each request, and count those that pass.

    Args:
        counts: is changed.
        opened: called with each request that passes and whose end is counted.
    """
    return {wanted: _admit_one(counts, wanted, now_ms, opened) for wanted in batch}


def _admit_one(
    counts: Counts, wanted: Wanted, now_ms: int, opened: Callable[[Wanted], None]
) -> Outcome:
    reached: Reached | None = None
    for limit in wanted.limits:
        if limit.kind is LimitKind.CONCURRENT:
            if counts.open.get(limit.key, 0) < limit.most:
                continue
            wait_ms = 0
        else:
            window = counts.windows.get(limit.key)
            if window is None or window.total(now_ms) < limit.most:
                continue
            wait_ms = window.wait_ms(now_ms, limit.most - 1)
        if reached is None or wait_ms > reached.wait_ms:
            reached = Reached(limit, wait_ms)
    if reached is not None:
        return reached
    ends = False
    for limit in wanted.limits:
        if limit.kind is LimitKind.REQUESTS:
            counts.windows.setdefault(limit.key, Window()).add(now_ms, 1)
            continue
        ends = True
        if limit.kind is LimitKind.CONCURRENT:
            counts.open[limit.key] = counts.open.get(limit.key, 0) + 1
    if ends:
        opened(wanted)
    return PASSED


def is_window(key: str) -> bool:
    """Return whether a limit counts amounts of a minute."""
    return not key.startswith(f"{LimitKind.CONCURRENT}:")


def counts_tokens(key: str) -> bool:
    """Return whether a limit counts tokens."""
    return key.startswith(f"{LimitKind.TOKENS}:")
