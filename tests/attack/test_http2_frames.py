"""Frames that no HTTP/2 client sends: floods, and CONNECT in its two forms."""

import contextlib
import itertools
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import hpack
import pytest

from authz.transport.http2.frames import PREFACE
from tests.attack.target import BODY, MESSAGES, Target
from tests.support.pair import Pair
from tests.support.raw import PATIENCE, Headers
from tests.support.together import together

_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_PSEUDO = [(":method", "POST"), (":scheme", "http"), (":authority", "g"), (":path", MESSAGES)]


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = struct.pack(">I", len(payload))[1:]
    return length + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _block(headers: Headers) -> bytes:
    return bytes(hpack.Encoder().encode(headers, huffman=False))


class Wire:
    """An HTTP/2 connection in clear on which a test writes every frame.

    Attributes:
        sent: how many bytes.
        closed: whether the peer has ended the connection.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sent = 0
        self.closed = False
        self._data = b""
        self._decoder = hpack.Decoder()
        self.send(PREFACE + _frame(_SETTINGS, 0, 0))

    def send(self, data: bytes) -> bool:
        """Send, and say whether the connection is still there."""
        try:
            self.socket.sendall(data)
        except TimeoutError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
            return False
        self.sent += len(data)
        return True

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Return the frames that come, until the connection is closed or silent for long."""
        while True:
            while len(self._data) >= 9:
                length = int.from_bytes(self._data[:3], "big")
                if len(self._data) < 9 + length:
                    break
                kind, flags = self._data[3], self._data[4]
                stream = int.from_bytes(self._data[5:9], "big")
                payload, self._data = self._data[9 : 9 + length], self._data[9 + length :]
                yield kind, flags, stream, payload
            try:
                received = self.socket.recv(65_536)
            except TimeoutError:
                return
            except ConnectionResetError:
                received = b""
            if not received:
                self.closed = True
                return
            self._data += received

    def end_of(self, stream: int) -> str:
        """Return a stream's status, ``reset``, or ``closed`` where the connection ended."""
        for kind, _, number, payload in self.frames():
            if kind == _GOAWAY:
                return "closed"
            if number == stream and kind == _RST:
                return "reset"
            if number == stream and kind == _HEADERS:
                return dict(self._decoder.decode(payload, raw=True))[b":status"].decode()
        return "closed"


@contextlib.contextmanager
def _wire(target: Target) -> Iterator[Wire]:
    target.gateway.provider.take()
    wire = Wire(target.gateway.port)
    with wire.socket:
        yield wire


def _memory(gateway: Pair) -> int:
    """Return Envoy's resident memory in bytes."""
    status = Path(f"/proc/{gateway.children()['envoy']}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one byte"])
def test_continuation_flood(target: Target, payload: bytes) -> None:
    """Endless continuations close the connection before they cost anything."""
    fragment = payload and _block([("x-flood", "a" * 200)])
    before = _memory(target.gateway)
    with _wire(target) as wire:
        alive = wire.send(_frame(_HEADERS, _END_STREAM, 1, _block([*_PSEUDO, *target.valid()])))
        for _ in range(2_000):
            if not alive:
                break
            alive = wire.send(_frame(_CONTINUATION, 0, 1, fragment) * 50)
        assert wire.end_of(1) in ("closed", "reset")
        assert wire.sent < 20_000_000
    assert target.reached() == []
    assert _memory(target.gateway) - before < 50_000_000


def test_continuation_flood_of_many(target: Target) -> None:
    """The gateway serves other clients while fifty connections flood it at the same time."""
    wires = [Wire(target.gateway.port) for _ in range(50)]
    try:
        start = _frame(_HEADERS, _END_STREAM, 1, _block(_PSEUDO))
        fragment = _frame(_CONTINUATION, 0, 1, _block([("x-flood", "a" * 10_000)]))
        for wire in wires:
            wire.send(start)
        for _ in range(40):
            for wire in wires:
                wire.send(fragment)
        assert target.post(target.valid()).status == 200
    finally:
        for wire in wires:
            wire.socket.close()
    assert target.reached() == []


def test_continuation_of_another_stream(target: Target) -> None:
    """A continuation of another stream than the header block's ends the connection."""
    block = _block([*_PSEUDO, *target.valid()])
    with _wire(target) as wire:
        wire.send(_frame(_HEADERS, 0, 1, block[:10]))
        wire.send(_frame(_CONTINUATION, _END_HEADERS, 3, block[10:]))
        assert wire.end_of(1) == "closed"
    assert target.reached() == []


def test_headers_in_continuations(target: Target) -> None:
    """A header block in a few continuations is a request like any other."""
    block = _block([*_PSEUDO, *target.valid(), ("content-type", "application/json")])
    with _wire(target) as wire:
        wire.send(_frame(_HEADERS, 0, 1, block[:10]))
        wire.send(_frame(_CONTINUATION, 0, 1, block[10:20]))
        wire.send(_frame(_CONTINUATION, _END_HEADERS, 1, block[20:]))
        wire.send(_frame(_DATA, _END_STREAM, 1, BODY))
        assert wire.end_of(1) == "200"
    assert len(target.reached()) == 1


def test_rapid_reset(target: Target) -> None:
    """Requests that are cancelled at once by the thousand end the connection, not the gateway."""
    with _wire(target) as wire:
        encoder = hpack.Encoder()
        alive = True
        for number in range(1, 40_000, 2):
            head = encoder.encode(_PSEUDO)
            alive = alive and wire.send(
                _frame(_HEADERS, _END_HEADERS, number, head)
                + _frame(_RST, 0, number, struct.pack(">I", 8))
            )
            if not alive:
                break
        kinds = [kind for kind, *_ in wire.frames()]
        # On a busy machine all is sent before the gateway has read it, and no GOAWAY may come.
        assert wire.closed or _GOAWAY in kinds
    assert target.post(target.valid()).status == 200


@pytest.mark.parametrize("kind", [_PING, _SETTINGS], ids=["ping", "settings"])
def test_flood_of_control_frames(target: Target, kind: int) -> None:
    """PINGs or SETTINGS by the ten thousand, whose answers are not read, cost no memory."""
    before = _memory(target.gateway)
    payload = b"12345678" if kind == _PING else b""
    with _wire(target) as wire:
        for _ in range(400):
            if not wire.send(_frame(kind, 0, 0, payload) * 100):
                break
        assert target.post(target.valid()).status == 200
    assert _memory(target.gateway) - before < 50_000_000


def test_extended_connect(target: Target) -> None:
    """Extended CONNECT is refused, and no byte of it reaches the provider."""

    def ask(case: tuple[str, bool]) -> None:
        protocol, authenticated = case
        headers = [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":authority", "gateway"),
            (":path", "/openai/v1/responses"),
            *(target.valid() if authenticated else []),
            ("sec-websocket-version", "13"),
        ]
        with _wire(target) as wire:
            wire.send(_frame(_HEADERS, _END_HEADERS, 1, _block(headers)))
            wire.send(_frame(_DATA, 0, 1, b"GET /anthropic/v1/models HTTP/1.1\r\n\r\n"))
            assert wire.end_of(1) in ("reset", "closed", "400", "403", "404")

    protocols = ("websocket", "connect-udp", "connect-ip", "")
    together(ask, itertools.product(protocols, (True, False)))
    assert target.reached() == []


def test_extended_connect_is_not_offered(target: Target) -> None:
    """The gateway's SETTINGS don't say ENABLE_CONNECT_PROTOCOL (RFC 8441)."""
    with _wire(target) as wire:
        settings = next(
            payload
            for kind, flags, _, payload in wire.frames()
            if kind == _SETTINGS and not flags & _ACK
        )
    pairs = dict(struct.iter_unpack(">HI", settings))
    assert pairs.get(8, 0) == 0


@pytest.mark.parametrize("authority", ["api.anthropic.com:443", "127.0.0.1:22", ""])
def test_plain_connect(target: Target, authority: str) -> None:
    """CONNECT over HTTP/2 opens no tunnel on the gateway, whatever the token."""
    headers = [(":method", "CONNECT"), (":authority", authority), *target.valid()]
    with _wire(target) as wire:
        wire.send(_frame(_HEADERS, _END_HEADERS, 1, _block(headers)))
        wire.send(_frame(_DATA, 0, 1, b"SSH-2.0-x\r\n"))
        assert wire.end_of(1) in ("reset", "closed", "400", "403", "404")
    assert target.reached() == []
