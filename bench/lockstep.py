"""A streamed response, one event at a time: its provider and its client in one thread.

The provider writes an event when the client has the one before. So a gateway between them reads,
handles and writes each event by itself, however slow it is, and the count of its work repeats.
"""

import json
import select
import socket
from types import TracebackType
from typing import Any, Self

from bench.world import BenchError

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_SECONDS = 60.0
"""The longest wait for one thing; callgrind makes a gateway 50 times slower."""


def _named(kind: str, value: dict[str, Any]) -> bytes:
    return f"event: {kind}\n".encode() + _unnamed({"type": kind, **value})


def _unnamed(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


_TEXT = " the quick brown fox jumps over the lazy dog and then some"
EVENTS = {
    "anthropic": (
        "Anthropic",
        _named(
            "content_block_delta",
            {"index": 0, "delta": {"type": "text_delta", "text": _TEXT}},
        ),
    ),
    "responses": (
        "OpenAI responses",
        _named(
            "response.output_text.delta",
            {
                "item_id": "msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654",
                "output_index": 0,
                "content_index": 0,
                "delta": _TEXT[:20],
                "sequence_number": 7,
            },
        ),
    ),
    "chat": (
        "OpenAI chat",
        _unnamed(
            {
                "id": "chatcmpl-9lMgfRSWPHcw51s6wxKT1YEO2CKpd",
                "object": "chat.completion.chunk",
                "created": 1721075653,
                "model": "gpt-4o-2024-08-06",
                "choices": [{"index": 0, "delta": {"content": _TEXT[:20]}, "finish_reason": None}],
            }
        ),
    ),
    "gemini": (
        "Gemini",
        _unnamed(
            {
                "candidates": [{"content": {"parts": [{"text": _TEXT[:20]}], "role": "model"}}],
                "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
                "modelVersion": "gemini-2.5-flash",
            }
        ),
    ),
}
"""By name the title and the bytes of an event with text: about 200 of them, as the API sends it."""


class Provider:
    """The provider's listener, on a port of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_SECONDS)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    def accept(self, client: socket.socket) -> socket.socket:
        """Return the connection of the next request.

        Args:
            client: has sent the request.

        Raises:
            BenchError: the gateway answers the client by itself, or not at all.
        """
        readable, _, _ = select.select([self._listener, client], [], [], _SECONDS)
        if self._listener not in readable:
            answer = client.recv(200) if readable else b"nothing"
            raise BenchError(f"the provider got no request; the client got {answer!r}")
        connection, _ = self._listener.accept()
        connection.settimeout(_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _read_until(connection, b"\r\n\r\n")
        return connection

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


class Stream:
    """A streamed response through a gateway, which ends with the ``with`` block.

    Args:
        provider: sends it.
        port: of the gateway.
        request: a whole request, sent as it is.
        event: the bytes of each event.

    Raises:
        BenchError: the gateway answers by itself, or not at all.
    """

    def __init__(self, provider: Provider, port: int, request: bytes, event: bytes) -> None:
        self._chunk = b"%x\r\n%s\r\n" % (len(event), event)
        self._client = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
        self._client.sendall(request)
        try:
            self._provider = provider.accept(self._client)
        except BenchError:
            self._client.close()
            raise
        self._provider.sendall(_HEAD)
        _read_until(self._client, b"\r\n\r\n")

    def send(self, count: int) -> None:
        """Let so many events pass, one after the other."""
        end = self._chunk[-40:]
        for _ in range(count):
            self._provider.sendall(self._chunk)
            _read_until(self._client, end)

    def __enter__(self) -> Self:
        """Return this stream."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.end()

    def end(self) -> None:
        """Close both connections."""
        self._provider.close()
        self._client.close()


def _read_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end) if end != b"\r\n\r\n" else end not in received:
        data = connection.recv(65_536)
        if not data:
            raise BenchError(f"a connection ended after {received[-200:]!r}")
        received += data
