"""Reads request bodies of any size with little memory."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from authz.demo.errors import ProviderError
from authz.demo.recording import Visit, visit_of

Call = dict[str, Any]
Handler = Callable[[Visit, Call], Awaitable[Response]]

KEPT = 1024 * 1024

_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"([^"\\]{1,200})"')
_STREAM = re.compile(rb'(?<!\\)"stream"\s*:\s*true')


@dataclass(frozen=True)
class Body:
    """A request body: its size and hash, and at most `KEPT` bytes of it.

    Attributes:
        size: bytes received.
        sha256: hash of all of them, so that a test can tell they came through unchanged.
        head: its beginning.
        tail: its end; follows on the head if the body is no larger than `KEPT`.
    """

    size: int
    sha256: str
    head: bytes
    tail: bytes

    @property
    def whole(self) -> bytes | None:
        """The body, or None if it was too large to keep."""
        return self.head + self.tail if self.size <= KEPT else None


async def read_body(request: Request) -> Body:
    """Read a request's body to its end, keeping its beginning and its end."""
    size = 0
    digest = hashlib.sha256()
    head, tail = bytearray(), bytearray()
    async for chunk in request.stream():
        size += len(chunk)
        digest.update(chunk)
        room = KEPT // 2 - len(head)
        head += chunk[:room]
        tail += chunk[room:]
        del tail[: -(KEPT // 2)]
    return Body(size, digest.hexdigest(), bytes(head), bytes(tail))


def json_endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Make an endpoint of a handler that takes a parsed JSON object.

    A body of `application/octet-stream` never reaches the handler: it is counted, for tests of
    large bodies.
    """

    async def endpoint(request: Request) -> Response:
        visit = visit_of(request)
        body = await read_body(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == "application/octet-stream":
            return JSONResponse(
                {"bytes": body.size, "sha256": body.sha256, "credential": str(visit.credential)}
            )
        if encoding := request.headers.get("content-encoding"):
            # Codex compresses for ChatGPT, with zstd, which Python 3.11 can't read.
            stream = "text/event-stream" in request.headers.get("accept", "")
            said = f"a body of {body.size} bytes in {encoding}"
            return await handler(visit, _unread("compressed", said, stream=stream))
        return await handler(visit, parse(visit.provider_type, body))

    return endpoint


def parse(provider_type: str, body: Body) -> Call:
    """Return the JSON object in a body; raise the provider's 400 if there is none."""
    if body.whole is None:
        return _glean(provider_type, body)
    try:
        call = json.loads(body.whole)
    except (ValueError, RecursionError):
        raise _not_json(provider_type) from None
    if not isinstance(call, dict):
        raise _not_json(provider_type)
    return call


def require(call: Call, name: str, kind: type, provider_type: str) -> Any:
    """Return a field that must be there and of that type; raise the provider's 400 if not."""
    value = call.get(name)
    if isinstance(value, kind) and not isinstance(value, bool) and value not in ("", []):
        return value
    if name in call:
        message = f"{name}: Input should be a valid {_WORDS[kind]}"
        code = "invalid_type"
    else:
        message = f"{name}: Field required"
        code = "missing_required_parameter"
    if provider_type == "anthropic":
        raise ProviderError(400, message)
    if name not in call:
        message = f"Missing required parameter: '{name}'."
    else:
        message = f"Invalid type for '{name}': expected a {_WORDS[kind]}."
    raise ProviderError(400, message, param=name, code=code)


_WORDS: dict[type, str] = {str: "string", list: "list", int: "integer", dict: "dictionary"}


def _glean(provider_type: str, body: Body) -> Call:
    # SDKs put `model` and `stream` before or after the bulk (the messages), so both ends are read.
    ends = body.head + b"\n" + body.tail
    model = _MODEL.search(ends)
    if model is None or not ends.lstrip().startswith(b"{") or not ends.rstrip().endswith(b"}"):
        raise _not_json(provider_type)
    return _unread(
        model.group(1).decode("utf-8", "replace"),
        f"a body of {body.size} bytes",
        stream=_STREAM.search(ends) is not None,
    )


def _unread(model: str, said: str, *, stream: bool) -> Call:
    return {
        "model": model,
        "stream": stream,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": said}],
        "input": said,
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
