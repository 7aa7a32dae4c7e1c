"""The provider of streams: server-sent events at a steady pace, each with the time it was sent.

Like ``upstream.py`` it gives 200 only to the central key without a token. All processes of a
machine share the monotonic clock, so the reader can tell how long an event was under way.
Run as ``python -m bench.sse PORT EVENTS INTERVAL EVENTS INTERVAL`` (seconds): the second pair is
for requests with a long body.
"""

import asyncio
import json
import sys
import time
from typing import Any, cast

import uvloop

from bench.upstream import CENTRAL_KEY

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_REFUSED = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
_KEY = f"\nx-api-key: {CENTRAL_KEY}\r".encode()


_LONG_BODY = 50_000


def _chunk(event: dict[str, Any]) -> bytes:
    text = f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(text), text)


_MESSAGE: dict[str, Any] = {
    "id": "msg_0f3a9b7c5d1e",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 1},
}
_BEGIN = _chunk({"type": "message_start", "message": _MESSAGE}) + _chunk(
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
)
_PLACE = b"0" * 16
_EVENT = _chunk(
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": f"@{_PLACE.decode()}@ "},
    }
)
_END = (
    _chunk({"type": "content_block_stop", "index": 0})
    + _chunk(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 24},
        }
    )
    + _chunk({"type": "message_stop"})
    + b"0\r\n\r\n"
)


def event(now_ns: int) -> bytes:
    """Return one event, with the time in it."""
    return _EVENT.replace(_PLACE, b"%016d" % now_ns)


class _Protocol(asyncio.Protocol):
    """One connection: a request at a time, told by its head and content-length."""

    def __init__(self, short: tuple[int, float], long: tuple[int, float]) -> None:
        self._short, self._long = short, long
        self._interval = 0.0
        self._buffer = b""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.lower() + b"\r"
        if b"\ntransfer-encoding: chunked\r" in lines:
            if not body.endswith(b"0\r\n\r\n"):
                return
        elif len(body) < int(lines.partition(b"\ncontent-length:")[2].partition(b"\r")[0] or 0):
            return
        self._buffer = b""
        events, self._interval = self._long if len(body) > _LONG_BODY else self._short
        if _KEY not in lines or b"\nauthorization:" in lines:
            self._transport.write(_REFUSED)
            return
        self._transport.write(_HEAD + _BEGIN + event(time.monotonic_ns()))
        self._later(self._loop.time() + self._interval, events - 1)

    def _later(self, when: float, left: int) -> None:
        self._loop.call_at(when, self._next, when, left)

    def _next(self, when: float, left: int) -> None:
        if self._transport.is_closing():
            return
        if left > 0:
            self._transport.write(event(time.monotonic_ns()))
            self._later(when + self._interval, left - 1)
        else:
            self._transport.write(_END)


async def _serve(port: int, short: tuple[int, float], long: tuple[int, float]) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: _Protocol(short, long), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    _port, *_pace = sys.argv[1:]
    _short, _long = ((int(_pace[at]), float(_pace[at + 1])) for at in (0, 2))
    uvloop.run(_serve(int(_port), _short, _long))
