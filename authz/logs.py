"""Logging of authz itself: structlog, JSON lines, or readable ones on a terminal."""

import logging
import os
import sys
import time
from collections.abc import Callable

import structlog

from authz.printable import printable

_TEXT_MAX = 10_000
_LINES = ("exception", "stack")
"""Values that have several lines, of Python's own making."""


def configure(level: str = "info", form: str = "auto") -> None:
    """Send all log lines to standard error, those of libraries from level warning up.

    Args:
        level: of our own: debug, info, warning or error.
        form: ``json``, ``console``, or ``auto``: console on a terminal.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _clean,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
        )
        if form == "console" or (form == "auto" and sys.stderr.isatty())
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _clean(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Make each text printable: a part of it may come from a client or a provider."""
    return {
        name: printable(value, _TEXT_MAX)
        if isinstance(value, str) and name not in _LINES
        else value
        for name, value in event.items()
    }


class LineLimit:
    """Bounds the lines that callers without a valid token can cause.

    Envoy's access log has a line for each request all the same.

    Args:
        burst: how many at once.
        a_second: how many after that.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        burst: int = 200,
        a_second: float = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._a_second, self._clock = burst, a_second, clock
        self._left, self._filled = float(burst), clock()
        self._dropped = 0

    def take(self) -> dict[str, int] | None:
        """Return fields for the line, or None where it shall not be written.

        The fields say how many lines were left out before this one.
        """
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._filled) * self._a_second)
        self._filled = now
        if self._left < 1:
            self._dropped += 1
            return None
        self._left -= 1
        dropped, self._dropped = self._dropped, 0
        return {"lines_left_out": dropped} if dropped else {}
