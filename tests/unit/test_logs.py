"""authz.logs."""

from authz.logs import LineLimit
from tests.unit.identity.test_memory import Clock


def test_a_flood_is_bounded_and_counted() -> None:
    """So many lines at once, so many a second after that, and the next says what was left out."""
    clock = Clock()
    limit = LineLimit(burst=3, a_second=2, clock=clock)
    assert [limit.take() for _ in range(5)] == [{}, {}, {}, None, None]
    clock.now += 1
    assert [limit.take() for _ in range(3)] == [{"lines_left_out": 2}, {}, None]
    clock.now += 60
    assert [limit.take() for _ in range(4)] == [{"lines_left_out": 1}, {}, {}, None]
