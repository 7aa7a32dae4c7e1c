"""Durations in manifests."""

import re

_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
MAX_CHECK_SECONDS = 5.0
"""The longest time for which a request should wait for authz."""


def seconds_of(value: object) -> float | None:
    """Return the seconds of a duration such as ``1m30s``, or None if it is not one."""
    if not isinstance(value, str) or not re.fullmatch(f"(?:{_PART.pattern})+", value):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))


def is_short(value: object) -> bool:
    """Return whether a duration is a good timeout of a check."""
    seconds = seconds_of(value)
    return seconds is not None and 0 < seconds <= MAX_CHECK_SECONDS
