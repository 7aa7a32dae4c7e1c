"""Server-sent events, and streams that end badly on purpose."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from authz.demo.script import Script

ABORT_AFTER = 3
ERROR_AFTER = 5


class BrokenOffError(Exception):
    """Raised in the middle of a response, so that the server drops the connection."""


def event(data: dict[str, Any], *, named: bool = True) -> bytes:
    """Return one event; named after the data's `type`, as in all APIs but chat completions."""
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def sse_response(script: Script, events: AsyncIterator[bytes], error: bytes) -> StreamingResponse:
    """Return the events as a stream.

    Args:
        script: says how the stream ends.
        events: the encoded events of a stream that ends well.
        error: the encoded event that takes over when the script ends in an error.
    """
    return StreamingResponse(
        _ending(script, events, error),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache"},
    )


def broken_json(script: Script) -> StreamingResponse:
    """Return the beginning of a JSON answer, then a dropped connection."""

    async def half() -> AsyncIterator[bytes]:
        yield b'{"id":'
        await asyncio.sleep(script.delay)
        raise BrokenOffError

    return StreamingResponse(half(), media_type="application/json")


async def _ending(
    script: Script, events: AsyncIterator[bytes], error: bytes
) -> AsyncIterator[bytes]:
    sent = 0
    async for encoded in events:
        yield encoded
        sent += 1
        if script.ending == "abort" and sent == ABORT_AFTER:
            # Proxies forward what they have when they next look: give them the time.
            await asyncio.sleep(script.delay)
            raise BrokenOffError
        if script.ending == "error" and sent == ERROR_AFTER:
            yield error
            return
