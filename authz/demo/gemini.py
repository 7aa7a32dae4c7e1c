"""Serve Google's native Gemini API."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.demo.body import Body, read_json
from authz.demo.context import RequestContext, new_id, request_context
from authz.demo.errors import ProviderError
from authz.demo.script import Script, count_words
from authz.demo.sse import event, sse_response

_MODELS = ("gemini-3-pro", "gemini-2.5-flash")


def routes() -> list[Route]:
    """Return the routes below its host."""
    return [
        route
        for version in ("/v1", "/v1beta")
        for route in (
            Route(f"{version}/models", _list_models),
            Route(f"{version}/models/{{model}}", _get_model),
            Route(f"{version}/models/{{model}}", _call, methods=["POST"]),
        )
    ]


async def _call(request: Request) -> Response:
    model, _, verb = str(request.path_params["model"]).partition(":")
    method = _METHODS.get(verb)
    if method is None:
        raise ProviderError(404, f"models/{model} has no method {verb}")
    context = request_context(request)
    return await method(context, model, await read_json(request, context.provider_type))


async def _generate(context: RequestContext, model: str, body: Body) -> Response:
    script = context.compose(model, _prompt(body), stream=False)
    return JSONResponse(_content(model, script.text, _usage(body, script), "STOP"))


async def _stream(context: RequestContext, model: str, body: Body) -> Response:
    script = context.compose(model, _prompt(body), stream=True)
    return sse_response(_events(script, model, body))


async def _events(script: Script, model: str, body: Body) -> AsyncIterator[bytes]:
    async for piece in script.play():
        yield event(_content(model, piece), named=False)
    yield event(_content(model, "", _usage(body, script), "STOP"), named=False)


async def _count(context: RequestContext, model: str, body: Body) -> Response:
    return JSONResponse({"totalTokens": count_words(body.get("contents"))})


async def _list_models(request: Request) -> Response:
    return JSONResponse({"models": [_model(name) for name in _MODELS]})


async def _get_model(request: Request) -> Response:
    name = request.path_params["model"]
    if name not in _MODELS:
        raise ProviderError(404, f"models/{name} is not found")
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"name": f"models/{name}", "displayName": name, "inputTokenLimit": 1_048_576}


def _prompt(body: Body) -> str:
    contents = body.get("contents")
    for content in reversed(contents if isinstance(contents, list) else []):
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in reversed(parts if isinstance(parts, list) else []):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                return str(part["text"])
    return ""


def _usage(body: Body, script: Script) -> dict[str, int]:
    prompt, response = count_words(body.get("contents")), count_words(script.text)
    return {
        "promptTokenCount": prompt,
        "candidatesTokenCount": response,
        "totalTokenCount": prompt + response,
    }


def _content(
    model: str, text: str, usage: dict[str, int] | None = None, finish: str | None = None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": text}]},
        "index": 0,
    }
    if finish is not None:
        candidate["finishReason"] = finish
    content: dict[str, Any] = {
        "candidates": [candidate],
        "modelVersion": model,
        "responseId": new_id("gen"),
    }
    return content | ({"usageMetadata": usage} if usage else {})


_METHODS: dict[str, Callable[[RequestContext, str, Body], Awaitable[Response]]] = {
    "generateContent": _generate,
    "streamGenerateContent": _stream,
    "countTokens": _count,
}
