"""The socket over which ``authz reload`` asks a running ``authz up``, and hears what came of it."""

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
"""How a message begins that goes on with the reason."""
_ANSWER_SECONDS = 120.0
"""For one reload and those before it; each takes some seconds."""


def control_socket(config: Config) -> Path:
    """Return the socket of the pair of a configuration; the port keeps two in one folder apart."""
    return config.state_folder / f"up-{config.listen.port}.sock"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a reload: one line, and whether the new configuration is served."""

    succeeded: bool
    text: str


class Request:
    """Somebody who waits for the outcome of a reload."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def answer(self, outcome: Outcome) -> None:
        """Send the outcome; whoever has gone away does not get it."""
        text = json.dumps({"succeeded": outcome.succeeded, "text": outcome.text})
        with contextlib.suppress(OSError), self._connection as connection:
            connection.settimeout(1)
            connection.sendall(text.encode())


class Control:
    """Listens for requests to reload, which are taken one by one.

    Args:
        path: the socket, made with mode 0600.
        wake: called from another thread when there is a request.

    Raises:
        StartError: it can't be listened on.
    """

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self._path = path
        self._wake = wake
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
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

    def take(self) -> Request | None:
        """Return the next request, or None."""
        try:
            return self._requests.get_nowait()
        except queue.Empty:
            return None

    def refuse(self, why: str) -> None:
        """Answer all who wait that nothing was reloaded."""
        while (request := self.take()) is not None:
            request.answer(Outcome(succeeded=False, text=why))

    def close(self) -> None:
        """Listen no longer."""
        self._path.unlink(missing_ok=True)
        # Closing alone would leave the thread in accept().
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._requests.put(Request(connection))
            self._wake()


def ask_reload(config: Config) -> Outcome:
    """Let the running pair of a configuration reload.

    Args:
        config: the new configuration, where it says where the pair is. Where its port is another
            one than the pair's, the only pair of the state folder is meant.

    Raises:
        StartError: there is no such pair, or it does not answer.
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
                f"no `authz up` of this configuration runs here: nobody listens on {path}"
            ) from None
        received = b""
        try:
            while piece := connection.recv(65_536):
                received += piece
            values = json.loads(received)
        except (OSError, ValueError):
            raise StartError("`authz up` ended or gave no answer; its log says more") from None
    return Outcome(succeeded=bool(values["succeeded"]), text=str(values["text"]))
