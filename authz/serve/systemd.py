"""Tells systemd the state of this process: ready, reloading, stopping, alive (``sd_notify``).

Without ``NOTIFY_SOCKET`` in the environment, as outside of a unit with ``Type=notify``, every
function does nothing.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator, MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """The connection to systemd.

    It removes the variables from the environment, so that no child of this process, such as Envoy,
    can report a state in its place.

    Args:
        environ: the environment of this process; None for a notifier that never sends.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        found = {name: "" if environ is None else environ.pop(name, "") for name in _VARIABLES}
        self._address = _address(found["NOTIFY_SOCKET"])
        self._watchdog: float | None = None
        if found["WATCHDOG_PID"] in ("", str(os.getpid())) and found["WATCHDOG_USEC"].isdecimal():
            self._watchdog = int(found["WATCHDOG_USEC"]) / 1_000_000
        self._next_sign = 0.0
        self._is_ready = self._is_stopping = False

    @property
    def is_on(self) -> bool:
        """True if systemd wants to know."""
        return self._address is not None

    @property
    def watchdog_seconds(self) -> float | None:
        """The seconds between calls of ``alive``: a third of the time after which systemd acts."""
        return self._watchdog / 3 if self._watchdog and self.is_on else None

    def waiting(self, what: str) -> None:
        """Show in ``systemctl status`` what the start waits for."""
        self._send(f"STATUS=waiting for {what}")

    def ready(self) -> None:
        """Report that requests are answered now, or that a reload has ended; not while stopping."""
        if self._is_stopping:
            return
        self._is_ready = True
        self._send("READY=1\nSTATUS=ready")

    def stopping(self) -> None:
        """Report that the stop has begun, which may take as long as open requests."""
        self._is_stopping = True
        self._send("STOPPING=1\nSTATUS=stopping")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Report a reload for the length of a block."""
        if self._is_ready:
            # systemd wants a time that is not before its request.
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading")
        try:
            yield
        finally:
            if self._is_ready:
                self.ready()

    def alive(self) -> None:
        """Send a sign of life if one is due."""
        seconds, now = self.watchdog_seconds, time.monotonic()
        if seconds is not None and now >= self._next_sign:
            self._next_sign = now + seconds
            self._send("WATCHDOG=1")

    async def stay_alive(self) -> None:
        """Send signs of life until cancelled. A blocked event loop sends none."""
        while (seconds := self.watchdog_seconds) is not None:
            self.alive()
            await asyncio.sleep(seconds)

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        # A start or a stop must not fail because systemd does not listen.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd,
        ):
            to_systemd.settimeout(1.0)
            to_systemd.connect(self._address)
            to_systemd.sendall(text.encode())


def _address(name: str) -> str | None:
    """Return the address of a socket: a path, or an abstract name that begins with ``@``."""
    if name.startswith("@") and len(name) > 1:
        return f"\0{name[1:]}"
    return name if name.startswith("/") else None
