"""Rare paths of the providers: images, audio, ranks, conversations, stored responses, vectors."""

import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from authz.demo import app
from authz.demo.body import Body, json_endpoint, read_json, require
from authz.demo.context import RequestContext, new_id, request_context
from authz.demo.errors import ProviderError
from authz.demo.responses import response_body
from authz.demo.script import compose
from tests.support.provider.sockets import socket_routes

_PIXEL = "R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
"""A GIF of one pixel."""


def _more_routes(kind: str) -> Sequence[BaseRoute]:
    if kind == "gemini":
        return _gemini_routes()
    if kind == "chatgpt":
        return socket_routes("/backend-api/codex/responses")
    if kind == "azure":
        deployment = "/openai/deployments/{deployment}"
        return [
            *_inference_routes(deployment),
            Route("/openai/responses/{id}", _get_response),
            *_openai_routes("/openai/v1"),
        ]
    if kind == "bedrock":
        return [*_openai_routes("/v1"), *_openai_routes("/openai/v1")]
    if kind == "openai":
        return [*socket_routes("/v1/responses"), *_openai_routes("/v1")]
    return []


def _all_routes(kind: str) -> Sequence[BaseRoute]:
    return [*_more_routes(kind), *app.ROUTES[kind]()]


ROUTES: app.Routes = {kind: lambda kind=kind: _all_routes(kind) for kind in app.ROUTES}  # type: ignore[misc]
"""The demo's routes and more."""


def _openai_routes(base: str) -> list[Route]:
    return [
        *_inference_routes(base),
        Route(f"{base}/responses/{{id}}", _get_response),
        Route(f"{base}/responses/{{id}}", _delete_response, methods=["DELETE"]),
        Route(f"{base}/conversations", json_endpoint(_create_conversation), methods=["POST"]),
        Route(f"{base}/conversations/{{id}}", _get_conversation),
        Route(f"{base}/conversations/{{id}}", _delete_conversation, methods=["DELETE"]),
    ]


def _inference_routes(base: str) -> list[Route]:
    calls = {
        "moderations": _moderate,
        "images/generations": _draw,
        "audio/speech": _speak,
        "rerank": _rank,
    }
    uploads = {
        "images/edits": _edit,
        "images/variations": _edit,
        "audio/transcriptions": _listen,
        "audio/translations": _listen,
    }
    return [
        *(
            Route(f"{base}/{path}", json_endpoint(one), methods=["POST"])
            for path, one in calls.items()
        ),
        *(Route(f"{base}/{path}", one, methods=["POST"]) for path, one in uploads.items()),
    ]


async def _moderate(context: RequestContext, body: Body) -> Response:
    result = {"flagged": False, "categories": {}, "category_scores": {}}
    return JSONResponse({"id": new_id("modr"), "model": "moderation", "results": [result]})


async def _draw(context: RequestContext, body: Body) -> Response:
    return JSONResponse({"created": 1754524800, "data": [{"b64_json": _PIXEL}]})


async def _speak(context: RequestContext, body: Body) -> Response:
    return Response(b"RIFF\0\0\0\0WAVE", media_type="audio/wav")


async def _rank(context: RequestContext, body: Body) -> Response:
    documents = require(body, "documents", list, context.provider_type)
    ranks = [{"index": index, "relevance_score": 0.5} for index in range(len(documents))]
    return JSONResponse({"model": body.get("model"), "results": ranks})


async def _listen(request: Request) -> Response:
    size = await _form_size(request)
    return JSONResponse({"text": f"A form of {size} bytes. {request_context(request).credential}."})


async def _edit(request: Request) -> Response:
    await _form_size(request)
    return JSONResponse({"created": 1754524800, "data": [{"b64_json": _PIXEL}]})


async def _form_size(request: Request) -> int:
    """Read a form of any size without parsing it, and return its size."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    if not request.headers.get("content-type", "").startswith("multipart/form-data;"):
        raise ProviderError(400, "Expected a multipart form")
    return size


async def _get_response(request: Request) -> Response:
    """Return a response for any well-formed id, since none is stored."""
    name = _id(request, "resp_", "Response")
    script = compose(request_context(request).credential, "(stored)", 0)
    return JSONResponse(response_body(name, {}, "gpt-5", script))


async def _delete_response(request: Request) -> Response:
    name = _id(request, "resp_", "Response")
    return JSONResponse({"id": name, "object": "response", "deleted": True})


async def _create_conversation(context: RequestContext, body: Body) -> Response:
    return JSONResponse(_conversation(new_id("conv"), body))


async def _get_conversation(request: Request) -> Response:
    return JSONResponse(_conversation(_id(request, "conv_", "Conversation"), {}))


async def _delete_conversation(request: Request) -> Response:
    name = _id(request, "conv_", "Conversation")
    return JSONResponse({"id": name, "object": "conversation.deleted", "deleted": True})


def _conversation(name: str, body: Body) -> dict[str, Any]:
    return {
        "id": name,
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": body.get("metadata") or {},
    }


def _id(request: Request, prefix: str, what: str) -> str:
    name = str(request.path_params["id"])
    if not name.startswith(prefix):
        raise ProviderError(404, f"{what} with id '{name}' not found.", param="id")
    return name


def _gemini_routes() -> list[Route]:
    return [
        Route(f"{version}/models/{{model}}:{method}", endpoint, methods=["POST"])
        for version in ("/v1", "/v1beta")
        for method, endpoint in (("embedContent", _embed), ("batchEmbedContents", _embed_all))
    ]


async def _embed(request: Request) -> Response:
    await read_json(request, "gemini")
    return JSONResponse({"embedding": {"values": [0.25, 0.5]}})


async def _embed_all(request: Request) -> Response:
    wanted = (await read_json(request, "gemini")).get("requests")
    count = len(wanted) if isinstance(wanted, list) else 0
    return JSONResponse({"embeddings": [{"values": [0.25, 0.5]}] * count})
