"""Report readiness to callers without a token, with few look-ups and one log line a change."""

import asyncio
import time
from collections.abc import Callable

import structlog

from authz.core.identity import IdentitySource
from authz.errors import IdentityUnavailable

_log = structlog.get_logger(__name__)

LASTS_SECONDS = 1.0


class Readiness:
    """Tells whether the identity source can decide checks, at most a second ago.

    For any number of callers, one look-up runs at a time and about one a second.

    Args:
        source: the identity source.
        clock: returns monotonic seconds.
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
        # Shielded, because a caller who disconnects must not cancel the look-up for the others.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        why = ""
        try:
            await self._source.check_ready()
        except IdentityUnavailable as error:
            why = str(error)
        except Exception as error:
            # Only the type: a driver's message could contain a query with its values.
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
