"""authz.limits.window against a list of all amounts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.limits.window import Window, whole_seconds

_MINUTE_MS = 60_000
_STEPS = st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 3)), min_size=1, max_size=30)


@given(steps=_STEPS, most=st.integers(1, 6))
@settings(max_examples=60)
def test_no_minute_has_more_than_the_limit(steps: list[tuple[int, int]], most: int) -> None:
    """No period of 60 seconds has more than the limit, and the wait is exact."""
    window, passed = Window(), list[int]()
    now_ms = 1_800_000_000_000
    for pause, _ in steps:
        now_ms += pause
        if window.total(now_ms) < most:
            window.add(now_ms, 1)
            passed.append(now_ms)
            continue
        wait_ms = window.wait_ms(now_ms, most - 1)
        assert 0 < wait_ms <= 61_000
        again = Window(window.dump())
        assert again.total(now_ms + wait_ms - 1) >= most
        assert again.total(now_ms + wait_ms) < most
    for begin in passed:
        assert sum(begin <= at < begin + _MINUTE_MS for at in passed) <= most


@given(steps=_STEPS)
@settings(max_examples=40)
def test_an_amount_counts_for_a_minute_and_at_most_a_second_more(
    steps: list[tuple[int, int]],
) -> None:
    """The sum has everything of the last 60 seconds, and nothing older than 61."""
    window, added = Window(), list[tuple[int, int]]()
    now_ms = 0
    for pause, amount in steps:
        now_ms += pause
        window.add(now_ms, amount)
        added.append((now_ms, amount))
        total = window.total(now_ms)
        assert total >= sum(one for at, one in added if at > now_ms - _MINUTE_MS)
        assert total <= sum(one for at, one in added if at > now_ms - _MINUTE_MS - 1000)
        assert Window(window.dump()).total(now_ms) == total


@given(jumps=st.lists(st.integers(-10_000_000, 30_000), min_size=1, max_size=12))
@settings(max_examples=40)
def test_a_clock_that_goes_back_loses_no_amount(jumps: list[int]) -> None:
    """Amounts of the future count as now, and end a minute later."""
    window, now_ms = Window(), 1_800_000_000_000
    for jump in jumps:
        before = window.total(now_ms)
        now_ms += jump
        if jump <= 0:
            assert window.total(now_ms) == before
        window.add(now_ms, 1)
    assert window.total(now_ms + 61_000) == 0


def test_whole_seconds_never_end_too_early() -> None:
    """A client that waits as long as it is told finds room."""
    assert [whole_seconds(one) for one in (0, 1, 1000, 1001, 60_999)] == [1, 1, 1, 2, 61]
