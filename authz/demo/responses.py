"""OpenAI's Responses API."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from authz.demo.body import Call, require
from authz.demo.errors import ProviderError
from authz.demo.recording import Visit, new_id, visit_of
from authz.demo.script import Script, count_words, last_said, write
from authz.demo.sse import ERROR_AFTER, broken_json, event, sse_response


async def create_response(visit: Visit, call: Call) -> Response:
    """Answer `POST /responses`: JSON, or a stream if the call asks for one."""
    script, response = ask(visit, call)
    if call.get("stream") is True:
        failure = {
            "type": "error",
            "code": "server_error",
            "message": ProviderError(500).message,
            "param": None,
            # They are numbered from zero.
            "sequence_number": ERROR_AFTER,
        }
        return sse_response(script, _encoded(script, response), event(failure))
    if script.ending == "abort":
        return broken_json(script)
    await asyncio.sleep(script.wait)
    return JSONResponse(response)


def ask(visit: Visit, call: Call) -> tuple[Script, dict[str, Any]]:
    """Return what to say to a call, and the whole response; ProviderError for a wrong call."""
    model = require(call, "model", str, visit.provider_type)
    if "input" not in call and "prompt" not in call:
        require(call, "input", str, visit.provider_type)
    stream = call.get("stream") is True
    script = write(visit, model, last_said(call.get("input")), stream=stream)
    response = _response(new_id("resp"), call, model, script)
    if call.get("generate") is False:
        # How Codex warms a model up, over a WebSocket.
        response["output"] = []
    return script, response


async def get_response(request: Request) -> Response:
    """Answer `GET /responses/{id}`. Nothing is stored: any id of the right form has an answer."""
    name = _known_id(request)
    script = write(visit_of(request), "stored", "(stored)", stream=False)
    return JSONResponse(_response(name, {}, "gpt-5", script))


async def delete_response(request: Request) -> Response:
    """Answer `DELETE /responses/{id}`."""
    return JSONResponse({"id": _known_id(request), "object": "response", "deleted": True})


async def events(script: Script, response: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a streamed response, at the script's pace.

    Args:
        script: what is said.
        response: as it is at the end; without output nothing is said.
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


def _response(name: str, call: Call, model: str, script: Script) -> dict[str, Any]:
    now = int(time.time())
    part = {"type": "output_text", "text": script.text, "annotations": [], "logprobs": []}
    item = {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    read = count_words(call.get("instructions"), call.get("input"), call.get("tools"))
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
        "instructions": call.get("instructions"),
        "max_output_tokens": call.get("max_output_tokens"),
        "model": model,
        "output": [item],
        "parallel_tool_calls": call.get("parallel_tool_calls", True),
        "previous_response_id": call.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": call.get("store", True),
        "temperature": call.get("temperature", 1.0),
        "text": {"format": {"type": "text"}},
        "tool_choice": call.get("tool_choice", "auto"),
        "tools": call.get("tools") or [],
        "top_p": call.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
        "metadata": call.get("metadata") or {},
    }


def _known_id(request: Request) -> str:
    name = str(request.path_params["id"])
    if not name.startswith("resp_"):
        raise ProviderError(404, f"Response with id '{name}' not found.", param="id")
    return name
