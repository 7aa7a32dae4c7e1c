"""The socket on which systemd listens for the states of a service."""

import contextlib
import socket
from collections.abc import Iterator

from tests.support.pair import wait_until


class NotifySocket:
    """Receives what a service sends, as systemd would.

    Args:
        name: a path, or an abstract name that begins with ``@``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self._socket.setblocking(False)
        self._messages: list[dict[str, str]] = []

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages received so far, each with its assignments."""
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(4096).decode().splitlines()
                self._messages.append(dict(line.split("=", 1) for line in lines))
        return self._messages

    @property
    def states(self) -> list[str]:
        """The state changes received so far, without watchdog messages."""
        names = ("READY", "RELOADING", "STOPPING")
        return [name for message in self.messages for name in names if message.get(name) == "1"]

    def wait_for(self, *states: str) -> None:
        """Wait until exactly these states have arrived, in this order."""
        wait_until(lambda: self.states == list(states), 60, f"the states {states}")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@contextlib.contextmanager
def notify_socket(name: str) -> Iterator[NotifySocket]:
    """Listen until the end of the block."""
    listening = NotifySocket(name)
    try:
        yield listening
    finally:
        listening.close()
