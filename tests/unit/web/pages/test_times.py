"""authz.web.pages.times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from authz.web.pages import times

NOW = datetime(2026, 11, 28, 10, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("distance", "past", "future"),
    [
        (timedelta(seconds=59), "just now", "in less than a minute"),
        (timedelta(minutes=1), "1 minute ago", "in 1 minute"),
        (timedelta(minutes=59, seconds=10), "59 minutes ago", "in 59 minutes"),
        (timedelta(hours=1), "1 hour ago", "in 1 hour"),
        (timedelta(days=5, hours=23), "6 days ago", "in 6 days"),
        (timedelta(days=59), "59 days ago", "in 59 days"),
        (timedelta(days=90), "3 months ago", "in 3 months"),
        (timedelta(days=36_500), "100 years ago", "in 100 years"),
    ],
)
def test_relative(distance: timedelta, past: str, future: str) -> None:
    """The unit fits the distance, and is singular for one."""
    assert times.relative(NOW - distance, NOW) == past
    assert times.relative(NOW + distance, NOW) == future


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Asia/Kolkata", "Asia/Kolkata"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("", "UTC"),
        ("Mars/Base", "UTC"),
        ("../../etc/passwd", "UTC"),
        ("/etc/localtime", "UTC"),
        ("Europe", "UTC"),
        ("A" * 65, "UTC"),
        ("Asia/Kolkata\n", "UTC"),
    ],
)
def test_the_zone_of_a_browser(name: str, zone: str) -> None:
    """A cookie that does not hold the name of a time zone means UTC."""
    assert str(times.read_zone(name)) == zone


def test_exact_times_are_in_utc() -> None:
    """Without the script a reader gets UTC, whatever zone the time comes in."""
    here = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert times.moment(here) == "2026-11-28 10:20 UTC"
    assert times.day(here) == "2026-11-28"
    assert times.iso(here) == "2026-11-28T10:20:00Z"
    assert [times.moment(None), times.day(None), times.relative(None)] == ["never"] * 3
    assert times.relative(NOW, NOW) == "just now"
