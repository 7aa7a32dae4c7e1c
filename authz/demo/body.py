"""Read and check the JSON bodies of requests."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from authz.demo.context import RequestContext, request_context
from authz.demo.errors import ProviderError

Body = dict[str, Any]
Handler = Callable[[RequestContext, Body], Awaitable[Response]]

_TYPE_NAMES: dict[type, str] = {str: "string", list: "list", int: "integer"}


def json_endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that parses the body and calls a handler."""

    async def endpoint(request: Request) -> Response:
        context = request_context(request)
        return await handler(context, await read_json(request, context.provider_type))

    return endpoint


async def read_json(request: Request, provider_type: str) -> Body:
    """Return the JSON object in a body.

    Raises:
        ProviderError: 400, the body is not a JSON object.
    """
    content = await request.body()
    if encoding := request.headers.get("content-encoding"):
        # Codex compresses for ChatGPT with zstd, which Python 3.11 can't decode.
        stream = "text/event-stream" in request.headers.get("accept", "")
        return _placeholder(f"a body of {len(content)} bytes in {encoding}", stream=stream)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise _not_json(provider_type) from None
    if not isinstance(body, dict):
        raise _not_json(provider_type)
    return body


def require(body: Body, name: str, kind: type, provider_type: str) -> Any:
    """Return a required field of a type.

    Raises:
        ProviderError: 400 in the provider's words, the field is missing or has another type.
    """
    value = body.get(name)
    if isinstance(value, kind) and not isinstance(value, bool) and value not in ("", []):
        return value
    is_given = name in body
    if provider_type == "anthropic":
        problem = f"Input should be a valid {_TYPE_NAMES[kind]}" if is_given else "Field required"
        raise ProviderError(400, f"{name}: {problem}")
    if is_given:
        message = f"Invalid type for '{name}': expected a {_TYPE_NAMES[kind]}."
        raise ProviderError(400, message, param=name, code="invalid_type")
    message = f"Missing required parameter: '{name}'."
    raise ProviderError(400, message, param=name, code="missing_required_parameter")


def _placeholder(prompt: str, *, stream: bool) -> Body:
    return {
        "model": "compressed",
        "stream": stream,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": prompt}],
        "input": prompt,
    }


def _not_json(provider_type: str) -> ProviderError:
    if provider_type == "anthropic":
        return ProviderError(400, "The request body is not valid JSON")
    return ProviderError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
        "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was "
        "sent was not valid JSON.)",
    )
