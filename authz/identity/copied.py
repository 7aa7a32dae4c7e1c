"""A copy in memory of rows that few requests need, read again every few seconds.

A request whose owner has no row there asks no database. A copy that could not be read for
``STALE_SECONDS`` is no longer used, so that a rule does not outlive a database that is away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from authz.errors import AuthzError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

REFRESH_SECONDS = 2.0
"""The time after which every process knows of a change."""
STALE_SECONDS = 30.0
"""The age from which a copy is no longer used."""


class Copy(Generic[T]):
    """Rows that are read again every ``REFRESH_SECONDS``.

    Args:
        read: reads the rows; it raises ``AuthzError`` if it can't.
        monotonic: the clock for the age of the copy.
    """

    def __init__(
        self, read: Callable[[], Awaitable[T]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._monotonic = monotonic
        self._value: T | None = None
        self._read_at = 0.0

    @property
    def value(self) -> T | None:
        """The rows, or None if they are not known or too old."""
        if self._value is None or self._monotonic() - self._read_at > STALE_SECONDS:
            return None
        return self._value

    async def refresh(self) -> None:
        """Read the rows now.

        Raises:
            AuthzError: they can't be read; the rows of before stay until they are too old.
        """
        began = self._monotonic()
        self._value = await self._read()
        self._read_at = began


async def repeat(work: Callable[[], Awaitable[None]], seconds: float, what: str) -> None:
    """Do a work for ever, with pauses, and go on after errors.

    Args:
        work: what is done.
        seconds: the pause.
        what: the subject of the log's line "… can't be used", which tells the first of several
            errors.
    """
    is_failing = False
    while True:
        try:
            await work()
        except Exception as error:
            # Any error may be temporary. Only the first one is logged.
            if not is_failing:
                is_failing = True
                why = str(error) if isinstance(error, AuthzError) else type(error).__name__
                _log.error(f"{what} can't be used", why=why)
        else:
            is_failing = False
        await asyncio.sleep(seconds)
