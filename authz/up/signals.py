"""Turn signals into requests to stop or reload."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType


class Signals:
    """Records requests to stop and to reload. The second request to stop takes effect at once."""

    def __init__(self) -> None:
        self._count = 0
        self._reload = False
        self._event = threading.Event()
        self._had_terminal = _has_terminal()

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP inside the block."""
        handlers = {
            signal.SIGINT: self._catch_stop,
            signal.SIGTERM: self._catch_stop,
            signal.SIGHUP: self._catch_hangup,
        }
        previous = {number: signal.signal(number, catch) for number, catch in handlers.items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _catch_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        self._event.set()

    def _catch_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._had_terminal and not _has_terminal():
            # The terminal was closed, so Ctrl-C can no longer stop the process.
            self._catch_stop(number, frame)
            return
        self._reload = True
        self._event.set()

    @property
    def stop(self) -> bool:
        """Return whether a stop is requested."""
        return self._count > 0

    @property
    def stop_now(self) -> bool:
        """Return whether to stop without waiting for open streams."""
        return self._count > 1

    def take_reload(self) -> bool:
        """Return whether a reload was requested since the last call."""
        requested, self._reload = self._reload, False
        return requested

    def wake(self) -> None:
        """End the current ``wait``. Other threads may call this."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Sleep until a request arrives, for at most some seconds."""
        if self.stop:
            time.sleep(seconds)
        else:
            self._event.wait(seconds)
            self._event.clear()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
