"""Failures in the shape that each provider gives them."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from authz.demo.accounts import Presented
from authz.secret import mask

# What a provider says with a status: Anthropic's type; OpenAI's type and code; the text.
_STATUSES: dict[int, tuple[str, str, str | None, str]] = {
    400: ("invalid_request_error", "invalid_request_error", None, "The request was not valid"),
    404: ("not_found_error", "invalid_request_error", None, "Not Found"),
    405: (
        "invalid_request_error",
        "invalid_request_error",
        "method_not_supported",
        "Method Not Allowed",
    ),
    429: (
        "rate_limit_error",
        "requests",
        "rate_limit_exceeded",
        "This request would exceed the rate limit",
    ),
    500: ("api_error", "server_error", None, "The server had an error, sorry about that"),
    529: ("overloaded_error", "server_error", None, "Overloaded"),
}

_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    529: "UNAVAILABLE",
}


class ProviderError(Exception):
    """An answer other than success, in words that both families of providers can say."""

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take the status, and what goes into the body where it differs from the usual."""
        super().__init__(message)
        _, _, usual_code, usual_message = _STATUSES.get(status, _STATUSES[500])
        self.status = status
        self.message = message or usual_message
        self.param = param
        self.code = code or usual_code
        self.headers = dict(headers or {})


def asked_for(status: int) -> ProviderError:
    """Return the failure that the model name `fail-<status>` asks for."""
    return ProviderError(status, headers={"retry-after": "7"} if status == 429 else None)


def error_body(provider_type: str, request_id: str, error: ProviderError) -> dict[str, Any]:
    """Return the error as this provider type writes it in JSON."""
    anthropic_type, openai_type, _, _ = _STATUSES.get(error.status, _STATUSES[500])
    if provider_type == "anthropic":
        return {
            "type": "error",
            "error": {"type": anthropic_type, "message": error.message},
            "request_id": request_id,
        }
    if provider_type == "gemini":
        return _google_body(error.status, error.message)
    return {
        "error": {
            "message": error.message,
            "type": openai_type,
            "param": error.param,
            "code": error.code,
        }
    }


def _google_body(status: int, message: str) -> dict[str, Any]:
    name = _GOOGLE_STATUSES.get(status, "INTERNAL")
    return {"error": {"code": status, "message": message, "status": name}}


def error_response(provider_type: str, request_id: str, error: ProviderError) -> JSONResponse:
    """Return the error as an answer of this provider type."""
    body = error_body(provider_type, request_id, error)
    return JSONResponse(body, status_code=error.status, headers=error.headers)


def unauthorized(provider_type: str, request_id: str, presented: Presented) -> JSONResponse:
    """Return the 401 for a credential that is wrong, ambiguous or missing."""
    if provider_type == "anthropic":
        if presented.header is None:
            message = "x-api-key header is required"
        elif presented.header == "authorization":
            message = "invalid bearer token"
        else:
            message = "invalid x-api-key"
        body: dict[str, Any] = {
            "type": "error",
            "error": {"type": "authentication_error", "message": message},
            "request_id": request_id,
        }
    elif provider_type == "gemini":
        body = _google_body(401, "Request had invalid authentication credentials.")
    else:
        code = None
        message = (
            "You didn't provide an API key. You need to provide your API key in an "
            "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        if presented.value is not None:
            code = "invalid_api_key"
            message = f"Incorrect API key provided: {mask(presented.value)}."
        body = {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": code,
            }
        }
    return JSONResponse(body, status_code=401)
