"""Logging with structlog: JSON lines, or readable lines on a terminal."""

import logging
import os
import sys
import time
from collections.abc import Callable

import structlog

from authz.printable import printable

_TEXT_MAX = 10_000
_LINES = ("exception", "stack")
"""Values that Python formats in several lines."""


def configure(level: str = "info", form: str = "auto") -> None:
    """Send all log lines to standard error; libraries log from level warning.

    Args:
        level: the lowest level that authz logs: debug, info, warning or error.
        form: ``json``, ``console`` or ``auto``, which means ``console`` on a terminal, else
            ``json``.
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
    """Make each text printable, because parts may come from a client or a provider."""
    return {
        name: printable(value, _TEXT_MAX)
        if isinstance(value, str) and name not in _LINES
        else value
        for name, value in event.items()
    }


class LineLimit:
    """Limits the log lines that callers without a valid token can cause.

    Envoy's access log still has a line for each request.

    Args:
        burst: lines that may be written at once.
        a_second: further lines in each second.
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
        """Return fields for the line, or None if the line must not be written.

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
