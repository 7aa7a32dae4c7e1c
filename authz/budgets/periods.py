"""Calendar days, weeks and months in a time zone."""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class Period(StrEnum):
    """The length of a budget. A week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def open_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ValueError: the machine knows no time zone of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            "an unknown time zone: name one of the IANA database, such as Europe/Berlin or UTC"
        ) from None


def bounds(period: Period, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    """Return the begin of the period in which a time lies, and the begin of the next one, in UTC.

    A period begins at its first local midnight. If the clock skips that midnight, it begins when
    the clock goes forward.

    Args:
        now: a timezone-aware time.
    """
    today = now.astimezone(zone).date()
    match period:
        case Period.DAY:
            first, following = today, today + timedelta(days=1)
        case Period.WEEK:
            first = today - timedelta(days=today.weekday())
            following = first + timedelta(days=7)
        case Period.MONTH:
            first = today.replace(day=1)
            following = (first + timedelta(days=31)).replace(day=1)
    return _midnight(first, zone), _midnight(following, zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # For a time that does not exist Python uses the offset before the change, which is the time of
    # the change. For a time that exists twice it uses the first one.
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
