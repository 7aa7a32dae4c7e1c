"""Let ``authz reload`` ask a running ``authz up`` to reload, over a Unix socket."""

import contextlib
import json
import os
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from authz.config.settings import Config
from authz.errors import StartError
from authz.transport.common import remove_stale_socket

NOT_RELOADED = "not reloaded, nothing has changed"
"""The beginning of a message that continues with the reason."""
_ANSWER_SECONDS = 120.0
"""The time for one reload and those queued before it. Each takes some seconds."""


def control_socket(config: Config) -> Path:
    """Return the path of the socket. It has the port, so that pairs may share a state folder."""
    return config.state_folder / f"up-{config.listen.port}.sock"


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """The result of a reload: success, and one line of text."""

    succeeded: bool
    text: str


class ReloadRequest:
    """A request to reload, whose client waits for the result."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def respond(self, result: ReloadResult) -> None:
        """Send the result, unless the client has disconnected."""
        text = json.dumps({"succeeded": result.succeeded, "text": result.text})
        with contextlib.suppress(OSError), self._connection as connection:
            connection.settimeout(1)
            connection.sendall(text.encode())


class Control:
    """Accepts requests to reload and queues them.

    Args:
        path: the socket, which gets mode 0600.
        wake: called from another thread when a request arrives.

    Raises:
        StartError: the socket can't be created.
    """

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self._path = path
        self._wake = wake
        self._requests: queue.SimpleQueue[ReloadRequest] = queue.SimpleQueue()
        self._socket = socket.socket(socket.AF_UNIX)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = os.umask(0o177)
        try:
            remove_stale_socket(path)
            self._socket.bind(str(path))
        except OSError as error:
            self._socket.close()
            raise StartError(f"{path}: {error.strerror or error}") from None
        finally:
            os.umask(before)
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True, name="control").start()

    def take(self) -> ReloadRequest | None:
        """Return the next request, or None if there is none."""
        try:
            return self._requests.get_nowait()
        except queue.Empty:
            return None

    def refuse(self, reason: str) -> None:
        """Refuse all waiting requests."""
        while (request := self.take()) is not None:
            request.respond(ReloadResult(succeeded=False, text=reason))

    def close(self) -> None:
        """Remove the socket and stop accepting requests."""
        self._path.unlink(missing_ok=True)
        # Shut down first: a close does not wake the thread that waits in accept().
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._requests.put(ReloadRequest(connection))
            self._wake()


def ask_reload(config: Config) -> ReloadResult:
    """Ask the running pair to reload, and return the result.

    Args:
        config: the new configuration, which has the state folder and port of the pair. If no pair
            has the port, the request goes to the only pair in the state folder.

    Raises:
        StartError: there is no such pair, or it does not respond.
    """
    wanted = control_socket(config)
    others = sorted(config.state_folder.glob("up-*.sock"))
    path = others[0] if not wanted.exists() and len(others) == 1 else wanted
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(path))
        except OSError:
            raise StartError(
                f"no `authz up` of this configuration runs here: {path} has no listener"
            ) from None
        received = b""
        try:
            while piece := connection.recv(65_536):
                received += piece
            values = json.loads(received)
        except (OSError, ValueError):
            raise StartError("`authz up` ended or did not respond; see its log") from None
    return ReloadResult(succeeded=bool(values["succeeded"]), text=str(values["text"]))
