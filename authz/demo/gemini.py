"""Google's native Gemini API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.demo.body import parse, read_body
from authz.demo.errors import ProviderError, error_body
from authz.demo.recording import Visit, new_id, visit_of
from authz.demo.script import Script, count_words, write
from authz.demo.sse import broken_json, event, sse_response

_MODELS = ("gemini-3-pro", "gemini-2.5-flash")


def routes() -> list[Route]:
    """Return the routes, as they are on its host."""
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
    method = _VERBS.get(verb)
    if method is None:
        raise ProviderError(404, f"models/{model} has no method {verb}")
    visit = visit_of(request)
    call = parse(visit.provider_type, await read_body(request))
    return await method(visit, model, call)


async def _generate(visit: Visit, model: str, call: dict[str, Any]) -> Response:
    script = write(visit, model, _said(call), stream=False)
    if script.ending == "abort":
        return broken_json(script)
    await asyncio.sleep(script.wait)
    return JSONResponse(_answer(model, script.text, _usage(call, script), "STOP"))


async def _stream(visit: Visit, model: str, call: dict[str, Any]) -> Response:
    script = write(visit, model, _said(call), stream=True)
    failure = error_body(visit.provider_type, visit.request_id, ProviderError(500))
    return sse_response(script, _events(script, model, call), event(failure, named=False))


async def _events(script: Script, model: str, call: dict[str, Any]) -> AsyncIterator[bytes]:
    async for piece in script.play():
        yield event(_answer(model, piece), named=False)
    yield event(_answer(model, "", _usage(call, script), "STOP"), named=False)


async def _count(visit: Visit, model: str, call: dict[str, Any]) -> Response:
    return JSONResponse({"totalTokens": count_words(call.get("contents"))})


async def _embed(visit: Visit, model: str, call: dict[str, Any]) -> Response:
    return JSONResponse({"embedding": {"values": [0.25, 0.5]}})


async def _embed_all(visit: Visit, model: str, call: dict[str, Any]) -> Response:
    wanted = call.get("requests")
    count = len(wanted) if isinstance(wanted, list) else 0
    return JSONResponse({"embeddings": [{"values": [0.25, 0.5]}] * count})


async def _list_models(request: Request) -> Response:
    return JSONResponse({"models": [_model(name) for name in _MODELS]})


async def _get_model(request: Request) -> Response:
    name = request.path_params["model"]
    if name not in _MODELS:
        raise ProviderError(404, f"models/{name} is not found")
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"name": f"models/{name}", "displayName": name, "inputTokenLimit": 1_048_576}


def _said(call: dict[str, Any]) -> str:
    contents = call.get("contents")
    for content in reversed(contents if isinstance(contents, list) else []):
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in reversed(parts if isinstance(parts, list) else []):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                return str(part["text"])
    return ""


def _usage(call: dict[str, Any], script: Script) -> dict[str, int]:
    prompt, answer = count_words(call.get("contents")), count_words(script.text)
    return {
        "promptTokenCount": prompt,
        "candidatesTokenCount": answer,
        "totalTokenCount": prompt + answer,
    }


def _answer(
    model: str, text: str, usage: dict[str, int] | None = None, finish: str | None = None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": text}]},
        "index": 0,
    }
    if finish is not None:
        candidate["finishReason"] = finish
    answer: dict[str, Any] = {
        "candidates": [candidate],
        "modelVersion": model,
        "responseId": new_id("gen"),
    }
    return answer | ({"usageMetadata": usage} if usage else {})


_VERBS: dict[str, Callable[[Visit, str, dict[str, Any]], Awaitable[Response]]] = {
    "generateContent": _generate,
    "streamGenerateContent": _stream,
    "countTokens": _count,
    "embedContent": _embed,
    "batchEmbedContents": _embed_all,
}
