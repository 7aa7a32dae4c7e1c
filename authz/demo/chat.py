"""Serve OpenAI's chat completions."""

import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import JSONResponse, Response

from authz.demo.body import Body, require
from authz.demo.context import RequestContext, new_id
from authz.demo.script import Script, count_words, last_prompt
from authz.demo.sse import event, sse_response


async def chat_completions(context: RequestContext, body: Body) -> Response:
    """Handle `POST /chat/completions`, with JSON or with a stream."""
    model = require(body, "model", str, context.provider_type)
    messages = require(body, "messages", list, context.provider_type)
    stream = body.get("stream") is True
    script = context.compose(model, last_prompt(messages), stream=stream)
    base = {
        "id": new_id("chatcmpl"),
        "created": int(time.time()),
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_standin",
    }
    usage = _usage(body, script)
    if stream:
        options = body.get("stream_options")
        wanted = isinstance(options, dict) and options.get("include_usage") is True
        return sse_response(_events(script, base, usage if wanted else None))
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
    # With `include_usage` every chunk has the key `usage`, which is null in all but the last.
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


def _usage(body: Body, script: Script) -> dict[str, Any]:
    prompt = count_words(body.get("messages"), body.get("tools"))
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
