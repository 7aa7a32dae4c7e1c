"""Readiness, for callers that need no token: one question at a time, and one log line a change."""

import asyncio
import time
from collections.abc import Callable

import structlog

from authz.core.identity import IdentitySource
from authz.errors import IdentityUnavailable

_log = structlog.get_logger(__name__)

LASTS_SECONDS = 1.0


class Readiness:
    """Says whether a check would be answered now, or up to a second ago.

    However many ask, the source is asked once at a time and about once a second.

    Args:
        source: has to be ready.
        clock: monotonic seconds.
    """

    def __init__(self, source: IdentitySource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._is_ready = True
        self._asked: float | None = None
        self._asking: asyncio.Task[bool] | None = None

    async def get(self) -> bool:
        """Return whether the source is ready."""
        if self._asking is None:
            if self._asked is not None and self._clock() - self._asked < LASTS_SECONDS:
                return self._is_ready
            self._asking = asyncio.create_task(self._ask())
        # Others may wait for the same answer: a caller who leaves must not cancel it.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        why = ""
        try:
            await self._source.check_ready()
        except IdentityUnavailable as error:
            why = str(error)
        except Exception as error:
            # The type alone: a driver's message could quote what it was asked.
            why = type(error).__name__
        finally:
            self._asked, self._asking = self._clock(), None
        is_ready = not why
        if is_ready is not self._is_ready:
            self._is_ready = is_ready
            if is_ready:
                _log.info("ready again")
            else:
                _log.warning("not ready", why=why)
        return is_ready
