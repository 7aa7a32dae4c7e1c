"""Encode server-sent events."""

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse


def event(data: dict[str, Any], *, named: bool = True) -> bytes:
    """Return one event.

    Args:
        data: the event's data.
        named: name the event after the data's `type`, as all APIs but chat completions do.
    """
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def sse_response(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return a stream of encoded events."""
    return StreamingResponse(
        events, media_type="text/event-stream", headers={"cache-control": "no-cache"}
    )
