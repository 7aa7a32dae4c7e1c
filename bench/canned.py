"""An ext_authz server that reads nothing and always gives one allow: the floor for any authz.

Just enough HTTP/2 for Envoy's client. It lets everybody in and exists for the benchmark alone.
Run as ``python -m bench.canned SOCKET KEY``, the cheapest that Python does; where there is a C
compiler, ``responder.py`` takes ``canned.c`` instead.
"""

import asyncio
import signal
import sys
from datetime import UTC, datetime
from typing import cast

import uvloop

from authz.check.ext_authz import allow
from authz.core.decision_types import Allow
from authz.core.identity import Identity
from authz.core.rules import Mode
from authz.secret import Secret

_PREFACE_BYTES = 24
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM = _ACK = 1
_WINDOW = (1 << 31) - 1


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """Write a header without HPACK's dynamic table: a new name, never indexed."""
    return bytes((0x00, len(name))) + name + bytes((len(value),)) + value


_STATUS_200 = b"\x88"
_RESPONSE = _STATUS_200 + _literal(b"content-type", b"application/grpc")
_TRAILERS = _literal(b"grpc-status", b"0")
# The initial window of a stream, and then that of the connection: we never need an update.
HELLO = _frame(_SETTINGS, 0, 0, b"\x00\x04" + _WINDOW.to_bytes(4, "big")) + _frame(
    8, 0, 0, (_WINDOW - 65_535).to_bytes(4, "big")
)
_SETTINGS_ACK = _frame(_SETTINGS, _ACK, 0, b"")


def canned_answer(key: str) -> bytes:
    """Return what authz itself would answer to the benchmark's request."""
    owner = Identity(
        user_id="3f0c6a2e-5b1d-4c8e-9f7a-1d2e3f4a5b6c",
        username="bench",
        email="",
        token_id="0123456789",
        token_name="bench",
        expires_at=datetime.now(UTC),
    )
    secret = Secret(key)
    decision = Allow(
        identity=owner,
        provider="anthropic",
        mode=Mode.CENTRALIZED,
        header="x-api-key",
        credential=secret,
        hint=secret.hint,
        token_headers=(),
    )
    metadata = {
        "decision": "allow",
        "user": owner.username,
        "user_id": owner.user_id,
        "token_id": owner.token_id,
        "token_name": owner.token_name,
        "mode": str(decision.mode),
        "provider": "anthropic",
        "credential_hint": decision.hint,
    }
    return allow(decision, metadata)


def answer_frames(message: bytes, stream: int) -> bytes:
    """Return the HTTP/2 frames of one gRPC answer."""
    message = b"\x00" + len(message).to_bytes(4, "big") + message
    return (
        _frame(_HEADERS, 4, stream, _RESPONSE)
        + _frame(_DATA, 0, stream, message)
        + _frame(_HEADERS, 4 | _END_STREAM, stream, _TRAILERS)
    )


class CannedProtocol(asyncio.Protocol):
    """Answers every stream that ends.

    Args:
        message: the serialized answer.
    """

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._received = b""
        self._greeted = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our settings."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(HELLO)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        assert self._transport is not None
        data = self._received + data
        position = 0
        if not self._greeted:
            if len(data) < _PREFACE_BYTES:
                self._received = data
                return
            self._greeted = True
            position = _PREFACE_BYTES
        out = []
        while len(data) >= position + 9:
            end = position + 9 + int.from_bytes(data[position : position + 3], "big")
            if len(data) < end:
                break
            kind, flags = data[position + 3], data[position + 4]
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                out.append(self._answer(int.from_bytes(data[position + 5 : position + 9], "big")))
            elif kind == _SETTINGS and not flags & _ACK:
                out.append(_SETTINGS_ACK)
            elif kind == _PING and not flags & _ACK:
                out.append(_frame(_PING, _ACK, 0, data[position + 9 : end]))
            position = end
        self._received = data[position:]
        if out:
            self._transport.write(b"".join(out))

    def _answer(self, stream: int) -> bytes:
        return answer_frames(self._message, stream)


async def serve(path: str, key: str) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    message = canned_answer(key)
    await asyncio.get_running_loop().create_unix_server(lambda: CannedProtocol(message), path)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
