"""Writes the HTTP responses of refusals, in the JSON format that each provider's SDK reads."""

import json
from dataclasses import dataclass

from authz.core.decision_types import Deny
from authz.core.providers import ErrorShape
from authz.core.refusals import Reason, Refusal

RETRY_AFTER_SECONDS = 2
"""Clients wait this long after a 503; authz restarts faster."""

_GOOGLE_STATUSES = {
    "invalid_request_error": (400, "INVALID_ARGUMENT"),
    "authentication_error": (401, "UNAUTHENTICATED"),
    "permission_error": (403, "PERMISSION_DENIED"),
    "not_found_error": (404, "NOT_FOUND"),
    "rate_limit_error": (429, "RESOURCE_EXHAUSTED"),
    "api_error": (503, "UNAVAILABLE"),
}
"""Google's codes for Anthropic's error types."""

Headers = tuple[tuple[str, str], ...]
_CHALLENGE_HEADERS: Headers = (
    ("content-type", "text/plain; charset=utf-8"),
    ("proxy-authenticate", 'Basic realm="Coder AI Gateway Proxy"'),
)
_NO_RETRY: Headers = (("x-should-retry", "false"),)
_UNAUTHORIZED_HEADERS: Headers = (("www-authenticate", "Bearer"), *_NO_RETRY)

REQUEST_ID_HEADER = "request-id"
"""The header of the id that a user quotes to support, unless the provider's SDK has another."""
_ID_HEADERS = {ErrorShape.OPENAI: "x-request-id", ErrorShape.GOOGLE: "x-request-id"}
"""The header of that id in other SDKs."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete HTTP response for the client.

    Attributes:
        headers: lower-case names and values.
        body: JSON text.
    """

    status: int
    headers: Headers
    body: str


def refusal(deny: Deny, shape: ErrorShape, request_id: str) -> HttpResponse:
    """Write a refusal.

    A 401 carries ``WWW-Authenticate`` (RFC 9110 11.6.1) and ``x-should-retry: false``; without the
    latter Claude Code retries silently for a minute. A budget may be used up for weeks, so its
    429 has that header, too.
    """
    if deny.status == 407:
        # All kinds of programs use proxies, so the text is plain, as in Coder.
        return HttpResponse(407, _CHALLENGE_HEADERS, f"{deny.message}\n")
    headers: Headers = ()
    if deny.status == 401:
        headers = _UNAUTHORIZED_HEADERS
    elif deny.reason is Reason.BUDGET_SPENT:
        headers = _NO_RETRY
    if deny.retry_after is not None:
        headers += (("retry-after", str(deny.retry_after)),)
    return _error(deny.refusal, deny.message, shape, request_id, headers)


def unavailable(kind: Refusal, shape: ErrorShape, request_id: str) -> HttpResponse:
    """Write the 503 for a request that authz can't decide on now.

    Args:
        kind: a row of the table of refusals whose message has no fields.
    """
    headers = (("retry-after", str(RETRY_AFTER_SECONDS)),)
    return _error(kind, kind.message, shape, request_id, headers)


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


def _error(
    kind: Refusal, message: str, shape: ErrorShape, request_id: str, headers: Headers
) -> HttpResponse:
    id_header = _ID_HEADERS.get(shape, REQUEST_ID_HEADER)
    body = error_body(shape, kind.error_type, kind.code, message, request_id)
    return HttpResponse(
        kind.status,
        (("content-type", "application/json"), (id_header, request_id), *headers),
        json.dumps(body),
    )
