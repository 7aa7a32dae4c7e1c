"""Refusals of the token API, in Coder's JSON shape (``coder-contract.md`` 2.7 and 5.1)."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."
NOT_FOUND = "Resource not found or you do not have access to this resource"
NO_TOKEN = 'Cookie "coder_session_token" or query parameter must be provided.'  # noqa: S105 - a text
LIMITED = "You've been rate limited. Please try again later."
UNAVAILABLE = "An internal error occurred. The identity store can't be used now."

CODER_VERSION = "v2.35.1"
"""The release of Coder whose API this one follows. ``coder`` warns when it is older or newer."""
ROUTE_NOT_FOUND = "Route not found."

HEADERS = {
    "x-coder-build-version": CODER_VERSION,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
"""Of every answer: they hold tokens and names, and are no page."""


class ApiError(Exception):
    """An answer that is no success.

    Args:
        status: HTTP status.
        message: one sentence for a person.
        detail: what exactly is wrong; nothing that was given is quoted.
        validations: field and what is wrong with it.
        headers: further ones.
    """

    def __init__(
        self,
        status: int,
        message: str,
        detail: str = "",
        *,
        validations: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {"message": message}
        if detail:
            self.body["detail"] = detail
        if validations:
            self.body["validations"] = [
                {"field": field, "detail": text} for field, text in validations.items()
            ]


def not_found() -> ApiError:
    """Say that there is no such thing, or that it is none of the caller's business."""
    return ApiError(404, NOT_FOUND)


def unauthorized(detail: str = "", message: str = SIGNED_OUT) -> ApiError:
    """Refuse a token, with the challenge that RFC 9110 11.6.1 asks for."""
    challenge = 'Bearer realm="coder", error="invalid_token"'
    return ApiError(401, message, detail, headers={"www-authenticate": challenge})


def rate_limited(seconds: int) -> ApiError:
    """Refuse what comes too often, and say when it may come again."""
    return ApiError(429, LIMITED, headers={"retry-after": str(seconds)})


def unavailable() -> ApiError:
    """Say that nothing can be decided now: never an allow."""
    return ApiError(503, UNAVAILABLE, headers={"retry-after": "2"})


def answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer that nobody keeps."""
    response = JSONResponse(body, status, headers={**HEADERS, **(headers or {})})
    response.headers["content-type"] = "application/json; charset=utf-8"
    return response


def empty(status: int = 204) -> Response:
    """Return an answer without a body."""
    return Response(status_code=status, headers=HEADERS)


async def on_api_error(_request: Request, error: Exception) -> Response:
    """Answer an ``ApiError``."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered for it alone
    return answer(error.status, error.body, error.headers)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    message = ROUTE_NOT_FOUND if error.status_code == 404 else error.detail
    return answer(error.status_code, {"message": message}, error.headers)
