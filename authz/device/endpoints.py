"""The endpoints of the device flow: metadata, device authorization and revocation."""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.core.device import shown_user_code
from authz.device.grants import CLAUDE_CODE, SESSION
from authz.errors import StoreError
from authz.identity.audit import Actor
from authz.identity.store_devices import (
    EXPIRES_SECONDS,
    INTERVAL_SECONDS,
    DeviceStore,
    TooManyCodes,
)
from authz.oauth.server_metadata import METADATA_PATH, request_origin, server_metadata
from authz.oauth.token_endpoint import NO_STORE, OAuthError, oauth_response, read_form
from authz.web.api.authentication import peer
from authz.web.own_store import OwnStore
from authz.web.pages.responses import BASE
from authz.web.sign_in import network

_log = structlog.get_logger(__name__)

DEVICE_PATH = "/oauth/device_authorization"
REVOKE_PATH = "/oauth/revoke"
PAGE_PATH = f"{BASE}/device"
SESSION_CLIENT = "authz"
"""The ``client_id`` of ``authz login --device``. Claude Code sends none."""
_AGENT = re.compile(r"([a-z][a-z0-9-]{0,15})/")

Handler = Callable[[Request, DeviceStore], Awaitable[Response]]


def device_routes(
    own_store: OwnStore,
    grants: Collection[str],
    providers: Callable[[], Sequence[str]],
    page_origin: str | None = None,
) -> list[Route]:
    """Return the routes of the device flow, at the root and below each provider.

    Envoy asks for ``PATH/PROVIDER`` where the client asked below a provider's base.

    Args:
        own_store: the identity store.
        grants: the grants that are switched on.
        providers: returns the names of the providers; the first one is that of the root.
        page_origin: the origin under which browsers reach the pages. None means that of the
            request. With ``https``, clients on other machines reach all of the gateway over TLS.
    """

    def origin_of(request: Request) -> str | None:
        return request_origin(request, is_https=(page_origin or "").startswith("https://"))

    async def authorize(request: Request, store: DeviceStore) -> Response:
        origin = page_origin or origin_of(request)
        return await _authorize(request, store, providers(), origin)

    device = _endpoint(own_store, authorize)
    revoke = _endpoint(own_store, _revoke)

    async def metadata(request: Request) -> Response:
        origin = origin_of(request)
        if origin is None:
            return Response(status_code=400, headers=NO_STORE)
        provider = request.path_params.get("provider")
        base = f"/{provider}" if provider else ""
        document = server_metadata(f"{origin}{base}", grants, _ENDPOINTS)
        return oauth_response(200, document)

    return [
        Route(f"{path}{below}", handler, methods=[method])
        for path, handler, method in (
            (METADATA_PATH, metadata, "GET"),
            (DEVICE_PATH, device, "POST"),
            (REVOKE_PATH, revoke, "POST"),
        )
        for below in ("", "/{provider}")
    ]


_ENDPOINTS = {
    "device_authorization_endpoint": DEVICE_PATH,
    "revocation_endpoint": REVOKE_PATH,
}


def _endpoint(own_store: OwnStore, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            store = (await own_store.get()).acting(Actor("nobody", ip=peer(request)))
            return await handler(request, store.part(DeviceStore))
        except StoreError as error:
            _log.error("device sign-in: store failed", why=str(error))
            error_ = OAuthError(
                "temporarily_unavailable", "The identity store is not available.", 503, 2
            )
        except OAuthError as error:
            error_ = error
        headers = {"retry-after": str(error_.retry_after)} if error_.retry_after else {}
        body = {"error": error_.error, "error_description": str(error_)}
        return oauth_response(error_.status, body, headers)

    return endpoint


async def _authorize(
    request: Request, store: DeviceStore, providers: Sequence[str], origin: str | None
) -> Response:
    """Begin a sign-in (RFC 8628 section 3.1). Unknown parameters are ignored."""
    form = await read_form(request)
    if origin is None:
        raise OAuthError("invalid_request", "The Host header is not valid.")
    is_session = form.get("client_id") == SESSION_CLIENT
    kind = SESSION if is_session else CLAUDE_CODE
    provider = "" if is_session else _provider(request, providers)
    try:
        device_code, user_code = await store.create_device_code(
            kind, _client(request, is_session=is_session), provider, network(peer(request))
        )
    except TooManyCodes:
        text = "Too many sign-ins were started from this network. Wait ten minutes."
        raise OAuthError("slow_down", text, 429, 60) from None
    shown = shown_user_code(user_code)
    return oauth_response(
        200,
        {
            "device_code": device_code,
            "user_code": shown,
            "verification_uri": f"{origin}{PAGE_PATH}",
            "verification_uri_complete": f"{origin}{PAGE_PATH}/{shown}",
            "expires_in": EXPIRES_SECONDS,
            "interval": INTERVAL_SECONDS,
        },
    )


def _provider(request: Request, providers: Sequence[str]) -> str:
    """Return the provider that a token is limited to."""
    name: str = request.path_params.get("provider") or next(iter(providers), "")
    if name not in providers:
        raise OAuthError("invalid_request", "No provider here serves Claude Code.", 404)
    return name


def _client(request: Request, *, is_session: bool) -> str:
    """Return the name of the client for people, which it chooses itself."""
    if is_session:
        return "authz login"
    found = _AGENT.match(request.headers.get("user-agent", "").lower())
    return found[1] if found else CLAUDE_CODE


async def _revoke(request: Request, store: DeviceStore) -> Response:
    """End a sign-in (RFC 7009): 200, whether the token was known or not."""
    form = await read_form(request)
    if (token := form.get("token")) is None:
        raise OAuthError("invalid_request", "The parameter token is missing.")
    await store.revoke(token)
    return oauth_response(200, {})
