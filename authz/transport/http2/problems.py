"""Logs protocol errors with their reason, each once a minute."""

import time
from collections.abc import Callable

import structlog

from authz.transport.http2.frames import ErrorCode

_log = structlog.get_logger(__name__)

LOG_SECONDS = 60.0
_NAMES = {code.value: code.name for code in ErrorCode}
_PLAIN_ENDS = frozenset({ErrorCode.NO_ERROR, ErrorCode.CANCEL, ErrorCode.REFUSED_STREAM})


class ProblemLog:
    """Limits the lines that peers can cause: one a minute for each event and reason.

    The reasons are constants of this package and names of exceptions, so they are few.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def log(self, event: str, why: str, **fields: str) -> None:
        """Log a problem, or count it if the same was logged within a minute.

        Args:
            event: the line's text.
            why: the reason, never text of the peer.
            fields: further fields of the line, never text of the peer.
        """
        key, now = (event, why), self._clock()
        if now - self._logged.get(key, -LOG_SECONDS) < LOG_SECONDS:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return
        self._logged[key] = now
        left_out = self._left_out.pop(key, 0)
        more = {"lines_left_out": left_out} if left_out else {}
        _log.warning(event, why=why, **fields, **more)

    def log_peer(self, event: str, code: int) -> None:
        """Log the error code of a peer, unless the peer only wants no more.

        The debug data behind the code is left out, since it may quote headers.

        Args:
            event: the line's text.
            code: from an RST_STREAM or a GOAWAY, any number.
        """
        if code not in _PLAIN_ENDS:
            self.log(event, _NAMES.get(code, "unknown code"))
