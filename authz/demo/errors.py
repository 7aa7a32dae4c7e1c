"""Write errors in the format of each provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from authz.demo.accounts import Presented
from authz.secret import mask


@dataclass(frozen=True)
class ErrorKind:
    """The words of the providers for one status.

    Attributes:
        anthropic: Anthropic's error type.
        openai: OpenAI's error type.
        google: Google's status.
        message: the message, unless a request has its own.
        code: OpenAI's error code.
    """

    anthropic: str
    openai: str
    google: str
    message: str
    code: str | None = None


_SERVER_ERROR = ErrorKind(
    "api_error", "server_error", "INTERNAL", "The server had an error, sorry about that"
)
_KINDS = {
    400: ErrorKind(
        "invalid_request_error",
        "invalid_request_error",
        "INVALID_ARGUMENT",
        "The request was not valid",
    ),
    404: ErrorKind("not_found_error", "invalid_request_error", "NOT_FOUND", "Not Found"),
    405: ErrorKind(
        "invalid_request_error",
        "invalid_request_error",
        "INTERNAL",
        "Method Not Allowed",
        "method_not_supported",
    ),
}


class ProviderError(Exception):
    """An error response of a provider.

    Args:
        status: HTTP status.
        message: the message, if it differs from the usual one of the status.
        param: OpenAI's name of the wrong parameter.
        code: OpenAI's error code, if it differs from the usual one of the status.
        headers: additional headers.
        kind: the providers' words for a status that has none here.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: ErrorKind | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind or _KINDS.get(status, _SERVER_ERROR)
        self.message = message or self.kind.message
        self.param = param
        self.code = code or self.kind.code
        self.headers = dict(headers or {})


def error_body(provider_type: str, request_id: str, error: ProviderError) -> dict[str, Any]:
    """Return the JSON of an error in the format of a provider type."""
    if provider_type == "anthropic":
        return _anthropic_body(error.kind.anthropic, error.message, request_id)
    if provider_type == "gemini":
        return _google_body(error.status, error.kind.google, error.message)
    return _openai_body(error.message, error.kind.openai, error.param, error.code)


def error_response(provider_type: str, request_id: str, error: ProviderError) -> JSONResponse:
    """Return an error response in the format of a provider type."""
    body = error_body(provider_type, request_id, error)
    return JSONResponse(body, status_code=error.status, headers=error.headers)


def unauthorized(provider_type: str, request_id: str, presented: Presented) -> JSONResponse:
    """Return the 401 for a credential that is wrong, ambiguous or missing."""
    if provider_type == "anthropic":
        message = "invalid x-api-key"
        if presented.header is None:
            message = "x-api-key header is required"
        elif presented.header == "authorization":
            message = "invalid bearer token"
        body = _anthropic_body("authentication_error", message, request_id)
    elif provider_type == "gemini":
        message = "Request had invalid authentication credentials."
        body = _google_body(401, "UNAUTHENTICATED", message)
    elif presented.value is not None:
        message = f"Incorrect API key provided: {mask(presented.value)}."
        body = _openai_body(message, "invalid_request_error", code="invalid_api_key")
    else:
        message = (
            "You didn't provide an API key. You need to provide your API key in an "
            "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        body = _openai_body(message, "invalid_request_error")
    return JSONResponse(body, status_code=401)


def _anthropic_body(kind: str, message: str, request_id: str) -> dict[str, Any]:
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": request_id}


def _google_body(status: int, name: str, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": name}}


def _openai_body(
    message: str, kind: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
