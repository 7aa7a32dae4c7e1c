"""What the supervisor is asked to do by signals."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType


class Signals:
    """Counts the requests to stop, of which the second stops at once, and notes those to reload."""

    def __init__(self) -> None:
        self._count = 0
        self._reload = False
        self._event = threading.Event()
        self._had_terminal = _has_terminal()

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch SIGINT, SIGTERM and SIGHUP inside the block."""
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
            # The terminal was closed, and nobody is left to press Ctrl-C.
            self._catch_stop(number, frame)
            return
        self._reload = True
        self._event.set()

    @property
    def stop(self) -> bool:
        """Whether to stop."""
        return self._count > 0

    @property
    def stop_now(self) -> bool:
        """Whether to stop without waiting for open streams."""
        return self._count > 1

    def take_reload(self) -> bool:
        """Return whether a reload was asked for since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def wake(self) -> None:
        """End a ``wait`` that is under way; for another thread."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until something is asked for."""
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
