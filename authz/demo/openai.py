"""List the routes of OpenAI, ChatGPT, Copilot, Azure and Bedrock, which share formats."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from authz.demo.body import json_endpoint
from authz.demo.chat import chat_completions
from authz.demo.errors import ProviderError
from authz.demo.inference import inference_routes
from authz.demo.responses import create_response, refuse_websocket

_MODELS = ("gpt-5", "gpt-5-mini", "gpt-5-codex", "gpt-4.1", "mistralai/mistral-7b")


def openai_routes() -> list[Route]:
    """Return OpenAI's routes, below its host."""
    return [
        Route("/v1/chat/completions", json_endpoint(chat_completions), methods=["POST"]),
        *_responses_routes("/v1/responses"),
        Route("/v1/models", _list_models),
        # The slash in a model's name is percent-encoded.
        Route("/v1/models/{model:path}", _get_model),
        *inference_routes("/v1"),
    ]


def chatgpt_routes() -> list[Route]:
    """Return the routes that Codex uses with a ChatGPT subscription."""
    base = "/backend-api/codex"
    return [
        *_responses_routes(f"{base}/responses"),
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
    """Return Azure's routes, with a deployment in the path and below ``/openai/v1``."""
    deployment = "/openai/deployments/{deployment}"
    return [
        Route(f"{deployment}/chat/completions", json_endpoint(chat_completions), methods=["POST"]),
        *inference_routes(deployment),
        Route("/openai/responses", json_endpoint(create_response), methods=["POST"]),
        Route("/openai/models", _list_models),
        *_below("/openai", openai_routes()),
    ]


def mantle_routes() -> list[Route]:
    """Return Bedrock's routes in OpenAI's format, which exist with and without ``/openai``."""
    return [*openai_routes(), *_below("/openai", openai_routes())]


def _responses_routes(path: str) -> list[Route]:
    return [
        Route(path, json_endpoint(create_response), methods=["POST"]),
        Route(path, refuse_websocket),
    ]


def _below(prefix: str, routes: list[Route]) -> list[Route]:
    return [
        Route(f"{prefix}{route.path}", route.endpoint, methods=list(route.methods or ()))
        for route in routes
    ]


async def _list_models(request: Request) -> Response:
    body: dict[str, Any] = {"object": "list", "data": [_model(name) for name in _MODELS]}
    if "client_version" in request.query_params:
        # Codex sends its version and reads `models`. An empty list leaves its built-in models.
        body["models"] = []
    return JSONResponse(body)


async def _get_model(request: Request) -> Response:
    name = request.path_params["model"]
    if name not in _MODELS:
        message = f"The model '{name}' does not exist"
        raise ProviderError(404, message, param="model", code="model_not_found")
    return JSONResponse(_model(name))


async def _check_accounts(request: Request) -> Response:
    # Codex with a ChatGPT login sends this request first, and stops if it fails.
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
