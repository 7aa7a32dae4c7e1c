"""Serve OpenAI's Responses API."""

import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from authz.demo.body import Body, require
from authz.demo.context import RequestContext, new_id
from authz.demo.errors import ProviderError
from authz.demo.script import Script, count_words, last_prompt
from authz.demo.sse import event, sse_response


async def create_response(context: RequestContext, body: Body) -> Response:
    """Handle `POST /responses`, with JSON or with a stream."""
    script, response = respond(context, body)
    if body.get("stream") is True:
        return sse_response(_encoded(script, response))
    return JSONResponse(response)


async def refuse_websocket(request: Request) -> Response:
    """Handle `GET /responses`: the stand-in has no WebSockets, which makes Codex use HTTP."""
    if request.headers.get("upgrade", "").lower() == "websocket":
        raise ProviderError(426, "The stand-in has no WebSockets.")
    raise HTTPException(405, headers={"Allow": "POST"})


def respond(context: RequestContext, body: Body) -> tuple[Script, dict[str, Any]]:
    """Return the text and the response to a call.

    Raises:
        ProviderError: the call is wrong.
    """
    model = require(body, "model", str, context.provider_type)
    if "input" not in body and "prompt" not in body:
        require(body, "input", str, context.provider_type)
    stream = body.get("stream") is True
    script = context.compose(model, last_prompt(body.get("input")), stream=stream)
    return script, response_body(new_id("resp"), body, model, script)


async def events(script: Script, response: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a streamed response, with the script's delays.

    Args:
        script: the text.
        response: the final response. If it has no output, there are no events for the text.
    """
    numbers = itertools.count()
    begun = {
        **response,
        "status": "in_progress",
        "completed_at": None,
        "output": [],
        "usage": None,
    }

    def numbered(kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "sequence_number": next(numbers), **fields}

    yield numbered("response.created", response=begun)
    yield numbered("response.in_progress", response=begun)
    for item in response["output"]:
        (part,) = item["content"]
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        empty = {**item, "status": "in_progress", "content": []}
        yield numbered("response.output_item.added", output_index=0, item=empty)
        yield numbered("response.content_part.added", **place, part={**part, "text": ""})
        async for piece in script.play():
            yield numbered("response.output_text.delta", **place, delta=piece, logprobs=[])
        yield numbered("response.output_text.done", **place, text=script.text, logprobs=[])
        yield numbered("response.content_part.done", **place, part=part)
        yield numbered("response.output_item.done", output_index=0, item=item)
    yield numbered("response.completed", response=response)


async def _encoded(script: Script, response: dict[str, Any]) -> AsyncIterator[bytes]:
    async for one in events(script, response):
        yield event(one)


def response_body(name: str, body: Body, model: str, script: Script) -> dict[str, Any]:
    """Return a completed response to a call.

    Args:
        name: the id of the response.
        body: the call.
        model: the model that the call names.
        script: the text of the response.
    """
    now = int(time.time())
    part = {"type": "output_text", "text": script.text, "annotations": [], "logprobs": []}
    item = {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    read = count_words(body.get("instructions"), body.get("input"), body.get("tools"))
    written = count_words(script.text)
    return {
        "id": name,
        "object": "response",
        "created_at": now,
        "completed_at": now,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": model,
        "output": [item],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
        "metadata": body.get("metadata") or {},
    }
