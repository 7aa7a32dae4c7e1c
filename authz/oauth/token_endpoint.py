"""The token endpoint (RFC 6749 section 3.2): one path, and a grant for each ``grant_type``."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.errors import AuthzError, StoreError
from authz.identity.store import Store
from authz.web.api.authentication import peer
from authz.web.own_store import OwnStore
from authz.web.sign_in import TooManySignIns, network
from authz.web.sign_in_limits import Limit

_log = structlog.get_logger(__name__)

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
PER_PEER = 60
"""Refused requests in a minute from one address. Those that succeed don't count."""
MAX_BODY_BYTES = 64 * 1024
_FORM = "application/x-www-form-urlencoded"
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache", "x-content-type-options": "nosniff"}


class OAuthError(AuthzError):
    """An error response of RFC 6749 section 5.2.

    Args:
        error: the code, such as ``invalid_grant``.
        description: one sentence for a person, without a value of the request.
        status: HTTP status.
        retry_after: seconds until the next attempt.
    """

    def __init__(
        self, error: str, description: str, status: int = 400, retry_after: int | None = None
    ) -> None:
        super().__init__(description)
        self.error = error
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token.

    Attributes:
        form: the parameters. Those without a value are left out, as RFC 6749 section 3.2 asks.
        peer: the address of the client.
        store: the identity store, with any actor.
    """

    form: Mapping[str, str]
    peer: str
    store: Store

    def require(self, name: str) -> str:
        """Return a parameter.

        Raises:
            OAuthError: it is missing.
        """
        value = self.form.get(name)
        if value is None:
            raise OAuthError("invalid_request", f"The parameter {name} is missing.")
        return value


Grant = Callable[[TokenRequest], Awaitable[Mapping[str, Any]]]
"""Returns the JSON of a successful response (RFC 6749 section 5.1), or raises OAuthError."""


def token_route(grants: Mapping[str, Grant], own_store: OwnStore) -> Route:
    """Return the route of the token endpoint.

    Args:
        grants: the grants that are switched on, by ``grant_type``.
        own_store: the identity store.
    """
    limit = Limit(PER_PEER, 60)

    async def endpoint(request: Request) -> Response:
        key = network(peer(request))
        try:
            if (seconds := limit.take(key)) is not None:
                raise OAuthError("slow_down", "Too many requests. Try again later.", 429, seconds)
            response = await _token(request, grants, own_store)
            limit.give_back(key)
            return oauth_response(200, response)
        except OAuthError as error:
            # RFC 8628: the client has a valid device code and waits for a person.
            if error.error == "authorization_pending":
                limit.give_back(key)
            headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
            return oauth_response(
                error.status,
                {"error": error.error, "error_description": str(error)},
                headers,
            )

    return Route(TOKEN_PATH, endpoint, methods=["POST"])


async def _token(
    request: Request, grants: Mapping[str, Grant], own_store: OwnStore
) -> Mapping[str, Any]:
    form = await read_form(request)
    kind = form.get("grant_type")
    if kind is None:
        raise OAuthError("invalid_request", "The parameter grant_type is missing.")
    grant = grants.get(kind)
    if grant is None:
        raise OAuthError("unsupported_grant_type", f"Use one of {', '.join(sorted(grants))}.")
    try:
        return await grant(TokenRequest(form, peer(request), await own_store.get()))
    except TooManySignIns as error:
        raise OAuthError("slow_down", "Too many attempts.", 429, error.seconds) from None
    except StoreError as error:
        _log.error("token endpoint: store failed", why=str(error))
        raise _unavailable() from None
    except OAuthError:
        raise
    except Exception as error:
        # Only the type: the message could contain a value from the request.
        _log.error("token endpoint: failed", error=type(error).__name__)
        raise OAuthError("server_error", "An internal error occurred.", 500) from None


async def read_form(request: Request) -> dict[str, str]:
    """Return the parameters of a form-encoded request, without empty ones.

    Raises:
        OAuthError: the request is not a form, too long, or has a parameter twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise OAuthError("invalid_request", f"Send the parameters as {_FORM}.")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise OAuthError("invalid_request", "The request is too long.", 413)
        pairs = parse_qsl(bytes(body).decode(), max_num_fields=50, strict_parsing=bool(body))
    except (ClientDisconnect, ValueError):
        raise OAuthError("invalid_request", "The parameters can't be read.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "A parameter appears twice.")
    return form


def _unavailable() -> OAuthError:
    text = "The identity store is not available. Try again."
    return OAuthError("temporarily_unavailable", text, 503, 2)


def oauth_response(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """Return JSON that is not cached."""
    return JSONResponse(dict(body), status, headers={**NO_STORE, **(headers or {})})
