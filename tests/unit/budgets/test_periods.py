"""authz.budgets.periods and money: calendars with changes of the clock, and amounts."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.budgets.money import MAXIMUM, NANO, dollars, parse_dollars
from authz.budgets.periods import Period, bounds, open_zone

# Clocks that skip or repeat midnight, go back to the day before, or skipped a whole day.
_ZONES = (
    "UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Asia/Beirut", "Pacific/Apia",
    "Africa/Cairo", "Asia/Kathmandu", "Australia/Lord_Howe",
)  # fmt: skip
_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("period", "zone", "now", "begin", "end"),
    [
        (Period.DAY, "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        (Period.DAY, "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        (Period.WEEK, "UTC", "2026-11-29T23:59", "2026-11-23T00:00", "2026-11-30T00:00"),
        (Period.MONTH, "America/New_York", "2026-03-01T04:59", "2026-02-01T05:00",
         "2026-03-01T05:00"),
        (Period.MONTH, "UTC", "2028-12-31T23:59", "2028-12-01T00:00", "2029-01-01T00:00"),
        # At midnight the clock goes forward to 1 o'clock.
        (Period.DAY, "America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00",
         "2018-11-05T02:00"),
        # The 30th did not exist.
        (Period.DAY, "Pacific/Apia", "2011-12-30T09:00", "2011-12-29T10:00", "2011-12-30T10:00"),
    ],
)  # fmt: skip
def test_a_period_begins_at_local_midnight(
    period: Period, zone: str, now: str, begin: str, end: str
) -> None:
    """A day has 23 or 25 hours where the clock changes, and a month ends in its own zone."""
    found = bounds(period, ZoneInfo(zone), datetime.fromisoformat(f"{now}+00:00"))
    assert [f"{one:%Y-%m-%dT%H:%M}" for one in found] == [begin, end]


@given(st.sampled_from(Period), st.sampled_from(_ZONES), _TIMES)
def test_periods_have_neither_gaps_nor_overlaps(
    period: Period, zone_name: str, now: datetime
) -> None:
    """Each time is in exactly one period, and the next period begins where the last one ends."""
    zone = open_zone(zone_name)
    begin, end = bounds(period, zone, now)
    assert begin <= now < end
    assert bounds(period, zone, begin) == (begin, end)
    assert bounds(period, zone, end - timedelta(microseconds=1)) == (begin, end)
    assert bounds(period, zone, end)[0] == end


@given(st.integers(1, MAXIMUM))
def test_an_amount_is_read_as_it_was_written(nano: int) -> None:
    """Amounts lose nothing when they are written for a person and read again."""
    assert parse_dollars(dollars(nano)) == nano


@pytest.mark.parametrize("text", ["", "ten", "nan", "inf", "-1", "0", "1e10", "0.0000000001", "1٣"])
def test_an_impossible_amount_is_refused(text: str) -> None:
    """Text that is not an amount of dollars gets an error that says what an amount is."""
    with pytest.raises(ValueError, match="an amount"):
        parse_dollars(text)


def test_amounts_have_two_decimals_or_more() -> None:
    """An amount is written with cents, and with fractions of a cent if it has any."""
    assert [dollars(n) for n in (5 * NANO, 1_230_000_000, 1)] == ["$5.00", "$1.23", "$0.000000001"]


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "a\0b"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    """A name that is not a time zone gets an error with a valid example."""
    with pytest.raises(ValueError, match="Europe/Berlin"):
        open_zone(name)
