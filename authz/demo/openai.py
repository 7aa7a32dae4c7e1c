"""The providers that speak OpenAI's formats: OpenAI itself, ChatGPT's Codex back end, Copilot."""

import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from authz.demo.body import Call, json_endpoint
from authz.demo.chat import chat_completions
from authz.demo.errors import ProviderError
from authz.demo.inference import inference_routes
from authz.demo.recording import Visit, new_id
from authz.demo.responses import create_response, delete_response, get_response
from authz.demo.sockets import socket_routes

_MODELS = ("gpt-5", "gpt-5-mini", "gpt-5-codex", "gpt-4.1", "mistralai/mistral-7b")


def openai_routes() -> list[BaseRoute]:
    """Return OpenAI's routes, as they are on its host."""
    return [*_http_routes(), *socket_routes("/v1/responses")]


def _http_routes() -> list[Route]:
    return [
        Route("/v1/chat/completions", json_endpoint(chat_completions), methods=["POST"]),
        Route("/v1/responses", json_endpoint(create_response), methods=["POST"]),
        Route("/v1/responses/{id}", get_response),
        Route("/v1/responses/{id}", delete_response, methods=["DELETE"]),
        Route("/v1/models", _list_models),
        # The slash of a model's name is escaped.
        Route("/v1/models/{model:path}", _get_model),
        *inference_routes("/v1"),
        Route("/v1/conversations", json_endpoint(_create_conversation), methods=["POST"]),
        Route("/v1/conversations/{id}", _get_conversation),
        Route("/v1/conversations/{id}", _delete_conversation, methods=["DELETE"]),
    ]


def chatgpt_routes() -> list[BaseRoute]:
    """Return the routes that Codex uses with a ChatGPT subscription."""
    base = "/backend-api/codex"
    return [
        Route(f"{base}/responses", json_endpoint(create_response), methods=["POST"]),
        *socket_routes(f"{base}/responses"),
        Route(f"{base}/models", _list_models),
        Route("/backend-api/wham/accounts/check", _check_accounts),
    ]


def copilot_routes() -> list[Route]:
    """Return Copilot's routes."""
    return [
        Route("/chat/completions", json_endpoint(chat_completions), methods=["POST"]),
        Route("/responses", json_endpoint(create_response), methods=["POST"]),
        Route("/models", _list_models),
        Route("/_ping", _ping),
    ]


def azure_routes() -> list[Route]:
    """Return Azure's routes: with a deployment in the path, and below ``/openai/v1``."""
    deployment = "/openai/deployments/{deployment}"
    return [
        Route(f"{deployment}/chat/completions", json_endpoint(chat_completions), methods=["POST"]),
        *inference_routes(deployment),
        Route("/openai/responses", json_endpoint(create_response), methods=["POST"]),
        Route("/openai/responses/{id}", get_response),
        Route("/openai/models", _list_models),
        *_below("/openai", _http_routes()),
    ]


def mantle_routes() -> list[Route]:
    """Return Bedrock's routes in OpenAI's format, which it has twice."""
    return [*_http_routes(), *_below("/openai", _http_routes())]


def _below(prefix: str, routes: list[Route]) -> list[Route]:
    return [
        Route(f"{prefix}{route.path}", route.endpoint, methods=list(route.methods or ()))
        for route in routes
    ]


async def _list_models(request: Request) -> Response:
    body: dict[str, Any] = {"object": "list", "data": [_model(name) for name in _MODELS]}
    if "client_version" in request.query_params:
        # Codex asks this way, and reads its own list. An empty one leaves it its built-in models.
        body["models"] = []
    return JSONResponse(body)


async def _get_model(request: Request) -> Response:
    name = request.path_params["model"]
    if name not in _MODELS:
        message = f"The model '{name}' does not exist"
        raise ProviderError(404, message, param="model", code="model_not_found")
    return JSONResponse(_model(name))


async def _create_conversation(visit: Visit, call: Call) -> Response:
    return JSONResponse(_conversation(new_id("conv"), call))


async def _get_conversation(request: Request) -> Response:
    return JSONResponse(_conversation(_conversation_id(request), {}))


async def _delete_conversation(request: Request) -> Response:
    name = _conversation_id(request)
    return JSONResponse({"id": name, "object": "conversation.deleted", "deleted": True})


async def _check_accounts(request: Request) -> Response:
    # Codex with a ChatGPT login asks this first, and goes no further without an answer.
    name = request.headers.get("chatgpt-account-id", "account")
    account = {
        "id": name,
        "structure": "personal",
        "workspace_backend_origin": "https://chatgpt.com",
        "account_routing_override": "NO_CONSTRAINT",
    }
    return JSONResponse(
        {"accounts": [account], "account_ordering": [name], "default_account_id": name}
    )


async def _ping(request: Request) -> Response:
    return PlainTextResponse("OK")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1754524800, "owned_by": "system"}


def _conversation(name: str, call: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": call.get("metadata") or {},
    }


def _conversation_id(request: Request) -> str:
    name = str(request.path_params["id"])
    if not name.startswith("conv_"):
        raise ProviderError(404, f"Conversation with id '{name}' not found.", param="id")
    return name
