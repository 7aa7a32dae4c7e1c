"""authz.check.tarpit: which refusals are delayed, and for how long."""

from authz.check.ext_authz import FinishedResponse
from authz.check.tarpit import A_SECOND, BURST, LONGEST, MAX_WAITING, SHORTEST, Tarpit
from authz.delayed import DelayedResponse
from authz.envoy.filters import TRY_SECONDS

REFUSAL = FinishedResponse(b"refusal")


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _delays(tarpit: Tarpit, clock: Clock, count: int) -> list[float]:
    """Return the delays of refusals; 0 for one that is sent at once."""
    refusals = [tarpit.slowed(REFUSAL, clock.now) for _ in range(count)]
    assert all(refusal == REFUSAL for refusal in refusals)
    return [r.seconds if isinstance(r, DelayedResponse) else 0.0 for r in refusals]


def test_mistakes_of_people_are_answered_at_once() -> None:
    """A first burst is not delayed, nor is any number of refusals at the usual rate after it."""
    clock = Clock()
    tarpit = Tarpit(clock=clock)
    assert not any(_delays(tarpit, clock, BURST))
    for _ in range(100):
        clock.now += 1.01
        assert not any(_delays(tarpit, clock, int(A_SECOND)))


def test_a_flood_is_delayed() -> None:
    """Refusals in a flood get different delays, all shorter than Envoy's time for a try."""
    clock = Clock()
    tarpit = Tarpit(clock=clock)
    _delays(tarpit, clock, BURST)
    delays = _delays(tarpit, clock, 200)
    assert all(SHORTEST <= delay <= LONGEST for delay in delays)
    assert len(set(delays)) > 100
    assert LONGEST + 0.2 <= TRY_SECONDS


def test_a_slow_look_up_is_part_of_the_delay() -> None:
    """The time that a refusal already took counts towards its delay."""
    clock = Clock()
    tarpit = Tarpit(clock=clock)
    _delays(tarpit, clock, BURST)
    late = tarpit.slowed(REFUSAL, clock.now - 0.3)
    assert isinstance(late, DelayedResponse)
    assert late.seconds <= LONGEST - 0.3 + 1e-6
    assert not isinstance(tarpit.slowed(REFUSAL, clock.now - LONGEST), DelayedResponse)


def test_delayed_refusals_are_few() -> None:
    """Beyond the maximum a refusal is sent at once, until delayed ones have left."""
    clock = Clock()
    tarpit = Tarpit(3, clock)
    _delays(tarpit, clock, BURST)
    assert [delay > 0 for delay in _delays(tarpit, clock, 5)] == [True, True, True, False, False]
    clock.now += LONGEST
    assert any(_delays(tarpit, clock, BURST // 2))


def test_the_maximum_has_a_limit() -> None:
    """A large configuration does not lift the limit of one process."""
    clock = Clock()
    tarpit = Tarpit(10**6, clock)
    _delays(tarpit, clock, BURST)
    delays = _delays(tarpit, clock, MAX_WAITING + 10)
    assert sum(delay > 0 for delay in delays) == MAX_WAITING
