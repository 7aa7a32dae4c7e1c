"""OpenAI's chat completions."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import JSONResponse, Response

from authz.demo.body import Call, require
from authz.demo.errors import ProviderError, error_body
from authz.demo.recording import Visit, new_id
from authz.demo.script import Script, count_words, last_said, write
from authz.demo.sse import broken_json, event, sse_response


async def chat_completions(visit: Visit, call: Call) -> Response:
    """Answer `POST /chat/completions`: JSON, or a stream if the call asks for one."""
    model = require(call, "model", str, visit.provider_type)
    messages = require(call, "messages", list, visit.provider_type)
    stream = call.get("stream") is True
    script = write(visit, model, last_said(messages), stream=stream)
    base = {
        "id": new_id("chatcmpl"),
        "created": int(time.time()),
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_standin",
    }
    usage = _usage(call, script)
    if stream:
        options = call.get("stream_options")
        wanted = isinstance(options, dict) and options.get("include_usage") is True
        failure = error_body(visit.provider_type, visit.request_id, ProviderError(500))
        events = _events(script, base, usage if wanted else None)
        return sse_response(script, events, event(failure, named=False))
    if script.ending == "abort":
        return broken_json(script)
    await asyncio.sleep(script.wait)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": script.text,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return JSONResponse({**base, "object": "chat.completion", "choices": [choice], "usage": usage})


async def _events(
    script: Script, base: dict[str, Any], usage: dict[str, Any] | None
) -> AsyncIterator[bytes]:
    # With `include_usage` every chunk has the key: null in all but the last.
    common = {**base, "object": "chat.completion.chunk"} | ({"usage": None} if usage else {})

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**common, "choices": [choice]}, named=False)

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    async for piece in script.play():
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    if usage:
        yield event({**common, "choices": [], "usage": usage}, named=False)
    yield b"data: [DONE]\n\n"


def _usage(call: Call, script: Script) -> dict[str, Any]:
    prompt = count_words(call.get("messages"), call.get("tools"))
    completion = count_words(script.text)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
