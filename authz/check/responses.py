"""The bodies and headers of refusals, in the shape that each provider's SDK reads."""

import json
from dataclasses import dataclass

from authz.core.decision import Deny
from authz.core.providers import ErrorShape

RETRY_AFTER_SECONDS = 2
"""How long a client waits after a 503: longer than a restart of authz takes."""

_GOOGLE_STATUSES = {
    "invalid_request_error": (400, "INVALID_ARGUMENT"),
    "authentication_error": (401, "UNAUTHENTICATED"),
    "permission_error": (403, "PERMISSION_DENIED"),
    "not_found_error": (404, "NOT_FOUND"),
    "rate_limit_error": (429, "RESOURCE_EXHAUSTED"),
    "api_error": (503, "UNAVAILABLE"),
}
"""Anthropic's names of error classes as Google has them."""

Headers = tuple[tuple[str, str], ...]
_CHALLENGE_HEADERS: Headers = (
    ("content-type", "text/plain; charset=utf-8"),
    ("proxy-authenticate", 'Basic realm="Coder AI Gateway Proxy"'),
)
_UNAUTHORIZED_HEADERS: Headers = (("www-authenticate", "Bearer"), ("x-should-retry", "false"))

REQUEST_ID_HEADER = "request-id"
"""Where a user finds the id to quote to support, unless the provider's SDK looks elsewhere."""
_ID_HEADERS = {ErrorShape.OPENAI: "x-request-id", ErrorShape.GOOGLE: "x-request-id"}
"""Where the SDK of each looks for the id that a user quotes to support."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer made by the gateway.

    Attributes:
        headers: lower-case names.
        body: JSON text.
    """

    status: int
    headers: Headers
    body: str


def refusal(deny: Deny, shape: ErrorShape, request_id: str) -> Answer:
    """Write a refusal.

    A 401 carries ``WWW-Authenticate`` (RFC 9110 11.6.1) and ``x-should-retry: false``, without
    which Claude Code retries in silence for a minute (``interface.md`` section 5).
    """
    if deny.status == 407:
        # Proxies are asked by all kinds of programs; Coder answers them in plain text (4.3).
        return Answer(407, _CHALLENGE_HEADERS, f"{deny.message}\n")
    headers = _UNAUTHORIZED_HEADERS if deny.status == 401 else ()
    if deny.retry_after is not None:
        headers += (("retry-after", str(deny.retry_after)),)
    return _answer(
        deny.status, deny.error_type, deny.code, deny.message, shape, request_id, headers
    )


def unavailable(shape: ErrorShape, request_id: str) -> Answer:
    """Write the 503 for a request on which nothing can be decided now."""
    return _answer(
        503,
        "api_error",
        "identity_unavailable",
        "The gateway can't check Coder tokens at the moment. Try again shortly.",
        shape,
        request_id,
        (("retry-after", str(RETRY_AFTER_SECONDS)),),
    )


def error_body(
    shape: ErrorShape, error_type: str, code: str, message: str, request_id: str
) -> dict[str, object]:
    """Build the error object that an SDK of ``shape`` reads, as JSON-ready values."""
    if shape is ErrorShape.OPENAI:
        return {"error": {"message": message, "type": error_type, "param": None, "code": code}}
    if shape is ErrorShape.GOOGLE:
        status_code, status = _GOOGLE_STATUSES.get(error_type, (500, "INTERNAL"))
        return {"error": {"code": status_code, "message": message, "status": status}}
    error: dict[str, object] = {"type": error_type, "message": message}
    if shape is ErrorShape.ANY:
        error |= {"param": None, "code": code}
    return {"type": "error", "error": error, "request_id": request_id}


def _answer(
    status: int,
    error_type: str,
    code: str,
    message: str,
    shape: ErrorShape,
    request_id: str,
    headers: Headers,
) -> Answer:
    id_header = _ID_HEADERS.get(shape, REQUEST_ID_HEADER)
    return Answer(
        status,
        (("content-type", "application/json"), (id_header, request_id), *headers),
        json.dumps(error_body(shape, error_type, code, message, request_id)),
    )
