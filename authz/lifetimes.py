"""Lifetimes of tokens in the syntax of the ``coder`` command: Go durations, days and years."""

import re
from datetime import timedelta
from fractions import Fraction

_MICROSECONDS = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "μs": Fraction(1),
    "ms": Fraction(1000),
    "s": Fraction(10**6),
    "m": Fraction(60 * 10**6),
    "h": Fraction(3600 * 10**6),
    "d": Fraction(24 * 3600 * 10**6),
    "y": Fraction(365 * 24 * 3600 * 10**6),
}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|y)", re.ASCII)

_LENGTH = 64  # longer numbers would cost time, and Python refuses those of 4,300 digits

DEFAULT = timedelta(hours=168)
"""Coder's ``CODER_DEFAULT_TOKEN_LIFETIME``, of a token created without a lifetime."""
SESSION = timedelta(hours=168)
"""The lifetime of a session; ``coder login`` uses the default lifetime of tokens."""
OVERLAP = timedelta(hours=1)
"""The time for which a rotated token works beside the new one: enough to restart its users."""
RETENTION = timedelta(days=7)
"""Coder's ``CODER_API_KEYS_RETENTION``, after which the record of an expired key is deleted."""
BROWSER_SESSION = timedelta(hours=24)
"""Coder's ``CODER_SESSION_DURATION``, of a session that begins with a password."""
ADMIN_MAXIMUM = timedelta(hours=168)
"""Coder's ``CODER_MAX_ADMIN_TOKEN_LIFETIME``, for tokens of owners, who may do more."""
MAXIMUM = timedelta(hours=876600)
"""Coder's ``CODER_MAX_TOKEN_LIFETIME``: 100 years."""


def parse(text: str) -> timedelta:
    """Read a lifetime such as ``8h``, ``30d``, ``1y`` or ``1d12h30m``.

    Args:
        text: terms of a number and a unit (``ns us ms s m h d y``), without spaces or sign;
            a day is 24 hours and a year 365 days.

    Returns:
        The duration, cut to whole microseconds, above zero and at most ``MAXIMUM``.

    Raises:
        ValueError: the text is not a lifetime or out of range; the message says what to write
            and does not quote the text, which may be a token in the wrong place.
    """
    total = _microseconds(text)
    if total is None:
        raise ValueError("not a lifetime: write for example 8h, 30d or 1d12h30m")
    microseconds = int(total)
    if microseconds <= 0:
        raise ValueError("a lifetime must be greater than 0")
    if microseconds > MAXIMUM / timedelta(microseconds=1):
        raise ValueError("a lifetime must be at most 876600h")
    return timedelta(microseconds=microseconds)


def parse_duration(text: str) -> timedelta:
    """Read a duration of the configuration such as ``500ms``, ``30s``, ``5m`` or ``1h30m``.

    Args:
        text: in the syntax of a lifetime; zero is allowed.

    Raises:
        ValueError: the text is not a duration; the message does not quote it.
    """
    total = _microseconds(text)
    if total is None or int(total) > MAXIMUM / timedelta(microseconds=1):
        raise ValueError("must be a number of seconds or a duration such as 500ms, 30s, 5m or 1h")
    return timedelta(microseconds=int(total))


def _microseconds(text: str) -> Fraction | None:
    """Return the sum of a text's terms, or None if the text has other parts."""
    total, position = Fraction(0), 0
    while position < len(text) <= _LENGTH:
        term = _TERM.match(text, position)
        if term is None:
            break
        total += Fraction(term[1].rstrip(".") or "0") * _MICROSECONDS[term[2]]
        position = term.end()
    return total if text and position == len(text) else None
