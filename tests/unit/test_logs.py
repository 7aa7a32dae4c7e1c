"""authz.logs."""

import subprocess
import sys

import pytest

from authz.logs import LineLimit
from tests.unit.identity.test_caching_source import Clock

_PROGRAM = """
import logging, structlog
from authz import logs
logs.configure(form={form!r})
why = "a\\nforged line\\r\\x9b2Jend"
structlog.get_logger("test").error("told\\x1b[2J", why=why, count=1)
logging.getLogger("library").warning("of a library: %s", why)
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_text_from_outside_forges_no_line(form: str) -> None:
    """A value with escape sequences and line ends is one line without those characters."""
    # In a process of its own, since logging is configured once for a whole process.
    command = [sys.executable, "-c", _PROGRAM.format(form=form)]
    written = subprocess.run(command, capture_output=True, check=True).stderr.decode()
    assert written.count("\n") == 2
    assert written.count("forged line") == 2
    assert "\x1b[2J" not in written
    assert not {"\r", "\x9b"} & set(written)


def test_a_flood_is_bounded_and_counted() -> None:
    """Lines are limited to a burst and then a rate; the next line counts those left out."""
    clock = Clock()
    limit = LineLimit(burst=3, a_second=2, clock=clock)
    assert [limit.take() for _ in range(5)] == [{}, {}, {}, None, None]
    clock.now += 1
    assert [limit.take() for _ in range(3)] == [{"lines_left_out": 2}, {}, None]
    clock.now += 60
    assert [limit.take() for _ in range(4)] == [{"lines_left_out": 1}, {}, {}, None]
