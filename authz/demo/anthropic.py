"""Serve Anthropic's API: messages, models and event logging."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.demo.body import Body, json_endpoint, require
from authz.demo.context import RequestContext, new_id
from authz.demo.errors import ProviderError
from authz.demo.script import Script, count_words, last_prompt
from authz.demo.sse import event, sse_response

_MODELS = {
    "claude-opus-4-5": "Claude Opus 4.5",
    "claude-sonnet-4-5": "Claude Sonnet 4.5",
    "claude-haiku-4-5": "Claude Haiku 4.5",
}


def routes() -> list[Route]:
    """Return the routes below the provider's base URL."""
    return [
        Route("/v1/messages", json_endpoint(_messages), methods=["POST"]),
        Route("/v1/messages/count_tokens", json_endpoint(_count_tokens), methods=["POST"]),
        Route("/v1/models", _list_models),
        Route("/v1/models/{model}", _get_model),
        Route("/api/hello", _hello),
        Route("/api/event_logging/batch", json_endpoint(_log_events), methods=["POST"]),
        Route("/api/event_logging/v2/batch", json_endpoint(_log_events), methods=["POST"]),
    ]


async def _hello(request: Request) -> Response:
    return JSONResponse({"message": "hello"})


async def _messages(context: RequestContext, body: Body) -> Response:
    model = require(body, "model", str, "anthropic")
    messages = require(body, "messages", list, "anthropic")
    require(body, "max_tokens", int, "anthropic")
    stream = body.get("stream") is True
    script = context.compose(model, last_prompt(messages), stream=stream)
    message = {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": script.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": _input_tokens(body),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": count_words(script.text),
            "service_tier": "standard",
        },
    }
    if stream:
        return sse_response(_events(script, message))
    return JSONResponse(message)


async def _events(script: Script, message: dict[str, Any]) -> AsyncIterator[bytes]:
    usage = message["usage"]
    opening = {
        **message,
        "content": [],
        "stop_reason": None,
        # Anthropic's count starts at one.
        "usage": {**usage, "output_tokens": 1},
    }
    yield event({"type": "message_start", "message": opening})
    block = {"type": "text", "text": ""}
    yield event({"type": "content_block_start", "index": 0, "content_block": block})
    yield event({"type": "ping"})
    async for piece in script.play():
        delta = {"type": "text_delta", "text": piece}
        yield event({"type": "content_block_delta", "index": 0, "delta": delta})
    yield event({"type": "content_block_stop", "index": 0})
    yield event(
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": usage["output_tokens"]},
        }
    )
    yield event({"type": "message_stop"})


async def _count_tokens(context: RequestContext, body: Body) -> Response:
    require(body, "model", str, "anthropic")
    require(body, "messages", list, "anthropic")
    return JSONResponse({"input_tokens": _input_tokens(body)})


async def _list_models(request: Request) -> Response:
    return JSONResponse(
        {
            "data": [_model(name) for name in _MODELS],
            "has_more": False,
            "first_id": next(iter(_MODELS)),
            "last_id": next(reversed(_MODELS)),
        }
    )


async def _get_model(request: Request) -> Response:
    name = request.path_params["model"]
    if name not in _MODELS:
        raise ProviderError(404, f"model: {name}")
    return JSONResponse(_model(name))


async def _log_events(context: RequestContext, body: Body) -> Response:
    events = body.get("events")
    accepted = len(events) if isinstance(events, list) else 0
    return JSONResponse({"accepted_count": accepted, "rejected_count": 0})


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": _MODELS[name],
        "created_at": "2025-10-01T00:00:00Z",
        "lifecycle": "active",
    }


def _input_tokens(body: Body) -> int:
    return count_words(body.get("system"), body.get("messages"), body.get("tools"))
