"""Bodies and streams: nothing is buffered, nothing is sent twice, an abort is passed on."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.support import raw
from tests.support.pair import BUSY, CENTRAL_KEYS, Pair, Provider, free_port, pair, wait_until

MEGABYTE = 1 << 20
LARGE = 100 * MEGABYTE
MAY_GROW = 30 * MEGABYTE
CHUNK = b"0123456789abcdef" * 4096
PATH = "/v1/messages"
ABORT_SECONDS = 3
WAIT = 0.7
"""Seconds for which a large body is not read; a buffer would fill up meanwhile."""
MODES = (
    "ok",
    "error",
    "overloaded",
    "break-after-head",
    "break-in-body",
    "no-answer",
    "reset",
    "late-reader",
    "large",
    "endless",
    "silent",
    "closes-when-idle",
)
_LENGTH = re.compile(rb"content-length: ([0-9]+)")


class Scripted:
    """A provider that behaves as the first segment of the path says, see ``MODES``.

    Attributes:
        requests: the request lines of those that came, in order.
        gone: when a connection was seen to be closed while its answer was under way.
        idle_ends: how many connections have ended on both sides after ``closes-when-idle``.
        received: bytes of the last body.
        connections: how many were accepted.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.gone: list[float] = []
        self.idle_ends = 0
        self.received = 0
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        wire.settimeout(60)
        with wire, contextlib.suppress(OSError):
            while head := self._head(wire):
                self.requests.append(head.partition(b"\r\n")[0])
                mode = head.split(b"/")[1].decode()
                if not self._answer(wire, mode, head):
                    return

    def _head(self, wire: socket.socket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # Byte by byte, so that the body stays where it is.
            byte = wire.recv(1)
            if not byte:
                return b""
            head += byte
        return head

    def _answer(self, wire: socket.socket, mode: str, head: bytes) -> bool:
        """Answer, and say whether the connection goes on."""
        if mode == "late-reader":
            time.sleep(WAIT)
        self._read_body(wire, head)
        if mode in ("error", "overloaded"):
            status = b"500 Internal Server Error" if mode == "error" else b"529 Overloaded"
            wire.sendall(b"HTTP/1.1 %s\r\ncontent-length: 4\r\n\r\noops" % status)
        elif mode in ("break-after-head", "break-in-body"):
            wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            if mode == "break-in-body":
                wire.sendall(b"beginning")
                time.sleep(0.1)
        elif mode == "reset":
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif mode == "large":
            wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // len(CHUNK)):
                wire.sendall(CHUNK)
            return True
        elif mode in ("endless", "silent"):
            self._stream(wire, ticks=mode == "endless")
        elif mode != "no-answer":
            wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            if mode == "closes-when-idle":
                time.sleep(0.2)
                wire.shutdown(socket.SHUT_WR)
                # Envoy has then closed it as well, and sends nothing more on it.
                if wire.recv(1) == b"":
                    self.idle_ends += 1
                return False
        return mode in ("ok", "error", "overloaded", "late-reader")

    def _read_body(self, wire: socket.socket, head: bytes) -> None:
        length = _LENGTH.search(head.lower())
        self.received = 0
        while length is not None and self.received < int(length[1]):
            try:
                data = wire.recv(MEGABYTE)
            except ConnectionResetError:
                data = b""
            if not data:
                self.gone.append(time.monotonic())
                raise OSError
            self.received += len(data)

    def _stream(self, wire: socket.socket, *, ticks: bool) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        wire.settimeout(0.1)
        # For longer than the test waits: an end by itself is not what it looks for.
        until = time.monotonic() + 3 * ABORT_SECONDS * BUSY
        while time.monotonic() < until:
            try:
                if wire.recv(1) == b"":
                    break
            except TimeoutError:
                if not ticks:
                    continue
                try:
                    wire.sendall(b"4\r\ntick\r\n")
                except OSError:
                    break
            except OSError:
                break
        else:
            return
        self.gone.append(time.monotonic())


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    """A provider that misbehaves on demand."""
    with Scripted() as running:
        yield running


@pytest.fixture(scope="module")
def bodies(
    provider: Provider, scripted: Scripted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """A pair with a provider for each mode, and one whose port is closed."""
    key_file = tmp_path_factory.mktemp("bodies") / "anthropic.key"
    key_file.write_text(CENTRAL_KEYS["anthropic"])
    urls = {mode: f"http://127.0.0.1:{scripted.port}/{mode}" for mode in MODES}
    urls["refused"] = f"http://127.0.0.1:{free_port()}"
    urls["stand-in"] = f"{provider.server.url}/anthropic"
    providers = [
        {"name": name, "type": "anthropic", "base_url": url, "key": {"file": str(key_file)}}
        for name, url in urls.items()
    ]
    with pair(provider, providers=providers) as running:
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def token(bodies: Pair) -> str:
    """A token of alice."""
    return bodies.create_token("alice")


class Memory:
    """The peak memory of a process while the block runs, relative to its start."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._before = self._highest = self._resident()

    @property
    def grown(self) -> int:
        """The bytes by which it grew."""
        return self._highest - self._before

    def __enter__(self) -> Self:
        """Watch."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self._highest = max(self._highest, self._resident())

    def _resident(self) -> int:
        (line,) = [x for x in self._status.read_text().splitlines() if x.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024


def _post(bodies: Pair, token: str, mode: str, **options: Any) -> httpx.Response:
    headers = {"x-api-key": token, "content-type": "application/octet-stream"}
    options.setdefault("content", b"{}")
    return httpx.post(
        f"{bodies.url}/{mode}{PATH}", headers=headers, timeout=30, trust_env=False, **options
    )


def _large_body() -> Iterator[bytes]:
    for _ in range(LARGE // len(CHUNK)):
        yield CHUNK


def test_large_upload(bodies: Pair, scripted: Scripted, token: str) -> None:
    """A hundred megabytes stream through to a provider that reads late; Envoy buffers nothing."""
    headers = {
        "x-api-key": token,
        "content-type": "application/octet-stream",
        "content-length": str(LARGE),
    }
    url = f"{bodies.url}/late-reader{PATH}"
    with Memory(bodies.children()["envoy"]) as memory:
        answer = httpx.post(url, headers=headers, content=_large_body(), timeout=30)
    assert answer.status_code == 200
    assert scripted.received == LARGE
    assert memory.grown < MAY_GROW


def test_large_chunked_upload(bodies: Pair, token: str) -> None:
    """A body of unknown length passes whole, and Envoy buffers nothing of it either."""
    with Memory(bodies.children()["envoy"]) as memory:
        answer = _post(bodies, token, "stand-in", content=_large_body())
    assert answer.json()["bytes"] == LARGE
    assert memory.grown < MAY_GROW


def test_large_answer(bodies: Pair, token: str) -> None:
    """A client that reads late makes the provider wait, and Envoy buffers nothing of the answer."""
    headers = {"x-api-key": token}
    received = 0
    with (
        Memory(bodies.children()["envoy"]) as memory,
        httpx.stream(
            "POST", f"{bodies.url}/large{PATH}", headers=headers, content=b"{}", timeout=30
        ) as answer,
    ):
        time.sleep(WAIT)
        for piece in answer.iter_raw():
            received += len(piece)
    assert received == LARGE
    assert memory.grown < MAY_GROW


def test_refused_upload(bodies: Pair, scripted: Scripted) -> None:
    """A client without a token gets the 401 before it sends the body; the provider gets nothing."""
    scripted.requests.clear()
    head = raw.request("POST", f"/ok{PATH}", [("content-length", str(LARGE))])
    began = time.monotonic()
    assert raw.ask(bodies.port, head).status == 401
    # It would wait for a body that never comes.
    assert time.monotonic() - began < 30
    assert scripted.requests == []


@pytest.mark.parametrize("mode", ["endless", "silent"])
def test_aborted_stream(bodies: Pair, scripted: Scripted, token: str, mode: str) -> None:
    """A client that disconnects ends the stream at the provider, even a silent one."""
    scripted.gone.clear()
    headers = {"x-api-key": token}
    url = f"{bodies.url}/{mode}{PATH}"
    with httpx.stream("POST", url, headers=headers, content=b"{}", timeout=10) as answer:
        pieces = answer.iter_raw()  # kept: httpx closes the connection when it is collected
        assert next(pieces).startswith(b"begin")
        time.sleep(0.3)
        assert scripted.gone == []
    # Envoy would cut a silent stream by itself much later.
    wait_until(lambda: scripted.gone, ABORT_SECONDS, "the provider seeing the abort")


def test_aborted_upload(bodies: Pair, scripted: Scripted, token: str) -> None:
    """A client that disconnects while it uploads ends the request at the provider."""
    scripted.gone.clear()
    scripted.requests.clear()
    headers = [("x-api-key", token), ("content-length", str(LARGE))]
    with raw.Connection(bodies.port) as connection:
        connection.send(raw.request("POST", f"/ok{PATH}", headers) + CHUNK)
        wait_until(lambda: scripted.requests, 3, "the request at the provider")
    wait_until(lambda: scripted.gone, 1, "the provider seeing the abort")


@pytest.mark.parametrize(("mode", "status"), [("error", 500), ("overloaded", 529)])
def test_error_is_not_asked_again(
    bodies: Pair, scripted: Scripted, token: str, mode: str, status: int
) -> None:
    """A provider's 500 or 529 is passed on unchanged, and the request is not sent again."""
    scripted.requests.clear()
    answer = _post(bodies, token, mode)
    assert (answer.status_code, answer.text) == (status, "oops")
    time.sleep(0.2)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("mode", ["break-after-head", "break-in-body"])
def test_broken_answer_is_not_asked_again(
    bodies: Pair, scripted: Scripted, token: str, mode: str
) -> None:
    """An answer that breaks off does so for the client too, and the request is not sent again."""
    scripted.requests.clear()
    try:
        # Before a byte of the body has been passed on, Envoy may still answer for itself.
        assert _post(bodies, token, mode).status_code >= 500
    except httpx.RemoteProtocolError as error:
        assert "closed" in str(error) or "disconnected" in str(error)  # noqa: PT017
    time.sleep(0.2)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("mode", ["no-answer", "reset"])
def test_lost_answer_is_not_asked_again(
    bodies: Pair, scripted: Scripted, token: str, mode: str
) -> None:
    """A request without an answer is not sent again, since the work may have been done."""
    scripted.requests.clear()
    answer = _post(bodies, token, mode)
    assert answer.status_code in (502, 503)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["type"] == "api_error"
    time.sleep(0.2)
    assert len(scripted.requests) == 1


def test_refused_connection(bodies: Pair, token: str) -> None:
    """A provider whose port is closed is a 503 in JSON, without the central key in it."""
    answer = _post(bodies, token, "refused")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["type"] == "api_error"
    assert CENTRAL_KEYS["anthropic"] not in answer.text
    assert token not in answer.text


def test_refused_connection_with_a_large_body(bodies: Pair, token: str) -> None:
    """A body that is too large to be kept for a retry still gets a JSON error."""
    answer = _post(bodies, token, "refused", content=CHUNK * 64)
    assert answer.status_code in (503, 507)
    assert answer.json()["error"]["type"] == "api_error"


def test_request_after_idling(bodies: Pair, scripted: Scripted, token: str) -> None:
    """A client's idle connection stays usable although the provider closed its own."""
    scripted.requests.clear()
    connections, ends = scripted.connections, scripted.idle_ends
    request = raw.request("POST", f"/closes-when-idle{PATH}", [("x-api-key", token)], b"{}")
    with raw.Connection(bodies.port) as connection:
        for number in range(ends + 1, ends + 4):
            connection.send(request)
            assert connection.read().status == 200
            # Envoy would send no POST again that it had sent on a closed connection.
            wait_until(lambda number=number: scripted.idle_ends == number, what="the idle end")
    assert len(scripted.requests) == 3
    assert scripted.connections == connections + 3


def test_connections_are_kept(bodies: Pair, scripted: Scripted, token: str) -> None:
    """Successive requests share connections to a provider that keeps them open."""
    connections = scripted.connections
    request = raw.request("POST", f"/ok{PATH}", [("x-api-key", token)], b"{}")
    with raw.Connection(bodies.port) as connection:
        for _ in range(10):
            connection.send(request)
            assert connection.read().status == 200
    assert scripted.connections <= connections + 1
