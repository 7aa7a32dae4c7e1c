"""authz.printable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.printable import csv_cell, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("modèle-日本", "modèle-日本"),
        ("\x1b[2Jm", "\ufffd[2Jm"),
        ("\x9b2Jm", "\ufffd2Jm"),
        ("m\nalice  9", "m\ufffdalice  9"),
        ("a\r\tb\0c\x7f", "a\ufffd\ufffdb\ufffdc\ufffd"),
        ("a\u2028b\u202ec\u200bd", "a\ufffdb\ufffdc\ufffdd"),
        ("\ud800", "\ufffd"),
    ],
)
def test_what_a_terminal_would_act_on_is_replaced(text: str, shown: str) -> None:
    """Printable text stays; controls, line ends, direction marks and half characters go."""
    assert printable(text) == shown


@given(st.text(st.characters()), st.integers(0, 40))
def test_any_text_becomes_one_bounded_printable_line(text: str, length: int) -> None:
    """The result is printable, bounded, and UTF-8, and cleaning it again changes nothing."""
    cleaned = printable(text, length)
    assert cleaned.isprintable()
    assert len(cleaned) == min(len(text), length)
    assert cleaned.encode().decode() == cleaned
    assert printable(cleaned, length) == cleaned


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "\t="])
def test_a_cell_is_no_formula(start: str) -> None:
    """A cell that begins as a formula does gets an apostrophe."""
    assert csv_cell(f"{start}1+1") == f"'{start}1+1"


@given(st.text())
def test_no_cell_begins_with_what_a_spreadsheet_computes(text: str) -> None:
    """No text becomes a cell that begins a formula; the text itself is all there."""
    cell = csv_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.endswith(text)
