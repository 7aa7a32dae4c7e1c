"""Errors of the token API, in Coder's JSON format and with Coder's texts."""

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."
NOT_FOUND = "Resource not found or you do not have access to this resource"
NO_TOKEN = 'Cookie "coder_session_token" or query parameter must be provided.'  # noqa: S105 - a text
LIMITED = "You've been rate limited. Please try again later."
UNAVAILABLE = "An internal error occurred. The identity store is not available. Try again."

CODER_VERSION = "v2.35.1"
"""The Coder release whose API this is. ``coder`` warns when its own version differs."""
ROUTE_NOT_FOUND = "Route not found."

HEADERS = {
    "x-coder-build-version": CODER_VERSION,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
"""Headers of every response. Responses contain tokens and names, and are not pages."""


class ApiError(Exception):
    """An error response.

    Args:
        status: HTTP status.
        message: one sentence for a person.
        detail: the exact problem, without any value from the request.
        validations: the problem with each field.
        headers: additional headers.
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
    """Return the 404 for what does not exist or the caller may not see."""
    return ApiError(404, NOT_FOUND)


def unauthorized(detail: str = "", message: str = SIGNED_OUT) -> ApiError:
    """Return the 401 for a token, with the challenge that RFC 9110 section 11.6.1 requires."""
    challenge = 'Bearer realm="coder", error="invalid_token"'
    return ApiError(401, message, detail, headers={"www-authenticate": challenge})


def rate_limited(seconds: int) -> ApiError:
    """Return the 429, with the seconds until the next attempt."""
    return ApiError(429, LIMITED, headers={"retry-after": str(seconds)})


def unavailable() -> ApiError:
    """Return the 503 for a store that can't be read. An unreadable store never grants access."""
    return ApiError(503, UNAVAILABLE, headers={"retry-after": "2"})


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response that caches do not store."""
    response = JSONResponse(body, status, headers={**HEADERS, **(headers or {})})
    response.headers["content-type"] = "application/json; charset=utf-8"
    return response


def empty(status: int = 204) -> Response:
    """Return a response without a body."""
    return Response(status_code=status, headers=HEADERS)


async def on_api_error(_request: Request, error: Exception) -> Response:
    """Return the response of an ``ApiError``."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered only for it
    return json_response(error.status, error.body, error.headers)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Return the error for a path or method that has no operation."""
    assert isinstance(error, HTTPException)  # noqa: S101
    message = ROUTE_NOT_FOUND if error.status_code == 404 else error.detail
    return json_response(error.status_code, {"message": message}, error.headers)
