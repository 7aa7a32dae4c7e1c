"""Serve OpenAI's embeddings and text completions."""

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.demo.body import Body, json_endpoint, require
from authz.demo.context import RequestContext, new_id
from authz.demo.script import count_words, last_prompt


def inference_routes(base: str) -> list[Route]:
    """Return the routes below ``base``."""
    return [
        Route(f"{base}/embeddings", json_endpoint(_embed), methods=["POST"]),
        Route(f"{base}/completions", json_endpoint(_complete), methods=["POST"]),
    ]


async def _embed(context: RequestContext, body: Body) -> Response:
    model = require(body, "model", str, context.provider_type)
    given = body.get("input")
    count = len(given) if isinstance(given, list) else 1
    vectors: list[dict[str, Any]] = [
        {"object": "embedding", "index": index, "embedding": [0.25, 0.5]} for index in range(count)
    ]
    tokens = count_words(given)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": vectors, "model": model, "usage": usage})


async def _complete(context: RequestContext, body: Body) -> Response:
    model = require(body, "model", str, context.provider_type)
    script = context.compose(model, last_prompt(body.get("prompt")), stream=False)
    prompt, completion = count_words(body.get("prompt")), count_words(script.text)
    choice = {"index": 0, "text": script.text, "logprobs": None, "finish_reason": "stop"}
    return JSONResponse(
        {
            "id": new_id("cmpl"),
            "object": "text_completion",
            "created": 1754524800,
            "model": model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }
    )
