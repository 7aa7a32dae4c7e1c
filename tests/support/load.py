"""Steady load on a gateway, with one right answer for each request."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support import raw
from tests.support.pair import wait_until
from tests.support.requests import MODELS


@dataclass
class Load:
    """Requests at a steady rate over several connections, with one right answer for each.

    Attributes:
        counts: by token and status; a connection that was cut counts as 0.
        slowest: seconds that the slowest answer took.
    """

    port: int
    right: dict[str, int]
    workers: int = 4
    pause: float = 0.004
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    slowest: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def total(self) -> int:
        """The number of requests that have been answered or cut."""
        return sum(self.counts.values())

    @property
    def failed(self) -> dict[int, int]:
        """The wrong answers by status."""
        wrong: Counter[int] = Counter()
        for (token, status), count in self.counts.items():
            if status != self.right[token]:
                wrong[status] += count
        return dict(wrong)

    @contextlib.contextmanager
    def running(self) -> Iterator["Load"]:
        """Send requests inside the block."""
        threads = [threading.Thread(target=self._work) for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: self.total > 20, 10, "load")
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(120)

    def more(self, count: int, seconds: float = 60) -> None:
        """Wait for this many more answers."""
        wanted = self.total + count
        wait_until(lambda: self.total >= wanted, seconds, "answers")

    def _work(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError), raw.Connection(self.port, 60) as connection:
                self._send_on(connection)
            # Where nothing listens, this would otherwise take a processor.
            self._stop.wait(self.pause)

    def _send_on(self, connection: raw.Connection) -> None:
        while not self._stop.is_set():
            for token in self.right:
                headers = [("x-api-key", token)]
                began = time.monotonic()
                try:
                    connection.send(raw.request("GET", MODELS["anthropic"], headers))
                    answer = connection.read()
                except (raw.Closed, OSError):
                    self.counts[token, 0] += 1
                    raise OSError("cut") from None
                self.counts[token, answer.status] += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                if answer.header("connection") == "close":
                    return
            time.sleep(self.pause)
