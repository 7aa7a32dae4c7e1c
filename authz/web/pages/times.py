"""Put times into words. The server writes UTC, and the page's script the reader's own zone."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ZONE_COOKIE = "authz_zone"
"""A cookie in which the page's script names the browser's time zone."""
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,3}")
_LONGEST_ZONE = 64

_STEPS = (
    (timedelta(minutes=1), timedelta(0), ""),
    (timedelta(hours=1), timedelta(minutes=1), "minute"),
    (timedelta(days=1), timedelta(hours=1), "hour"),
    (timedelta(days=60), timedelta(days=1), "day"),
    (timedelta(days=730), timedelta(days=30), "month"),
    (timedelta.max, timedelta(days=365), "year"),
)
"""Up to which distance a unit is used, its length, and its name."""


def read_zone(name: str) -> tzinfo:
    """Return the time zone that a browser names; UTC for any other text."""
    if len(name) > _LONGEST_ZONE or _ZONE.fullmatch(name) is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(value: datetime | None) -> str:
    """Return a time to the minute, in UTC."""
    return "never" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def day(value: datetime | None) -> str:
    """Return the day of a time, in UTC."""
    return "never" if value is None else f"{value.astimezone(UTC):%Y-%m-%d}"


def iso(value: datetime) -> str:
    """Return a time as the ``datetime`` attribute of HTML has it."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def relative(value: datetime | None, now: datetime | None = None) -> str:
    """Return the distance of a time from now, such as ``5 minutes ago`` or ``in 3 days``."""
    if value is None:
        return "never"
    distance = value - (now or datetime.now(UTC))
    is_past = distance <= timedelta(0)
    size = abs(distance)
    length, unit = next((length, unit) for limit, length, unit in _STEPS if size < limit)
    if not unit:
        return "just now" if is_past else "in less than a minute"
    number = round(size / length)
    text = f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{text} ago" if is_past else f"in {text}"
