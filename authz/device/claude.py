"""Claude Code's managed settings and list of models, for a user with a Bearer token."""

import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from authz.config.claude_code import ClaudeCode
from authz.core.tokens import parse
from authz.errors import StoreError
from authz.identity.accounts import User
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated
from authz.web.own_store import OwnStore

_log = structlog.get_logger(__name__)

SETTINGS_PATH = "/managed/settings"
MODELS_PATH = "/v1/models"
_HEADERS = {"cache-control": "private, no-cache", "x-content-type-options": "nosniff"}
_BEARER = "bearer "

Handler = Callable[[Request, Store, User], Awaitable[Response]]


def claude_routes(own_store: OwnStore, settings: ClaudeCode) -> list[Route]:
    """Return the routes.

    Args:
        own_store: the identity store.
        settings: of the sign-in.
    """

    async def managed(request: Request, store: Store, user: User) -> Response:
        chosen = settings.settings_for({one.name for one in await store.groups_of(user)})
        if chosen is None:
            return _error(404, "not_found_error", "There are no managed settings for you.")
        checksum = settings_checksum(chosen)
        headers = {**_HEADERS, "etag": f'"{checksum}"'}
        if request.headers.get("if-none-match") in (f'"{checksum}"', "*"):
            return Response(status_code=304, headers=headers)
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, checksum))
        body = {"uuid": name, "checksum": checksum, "settings": chosen}
        return JSONResponse(body, headers=headers)

    async def models(_request: Request, _store: Store, _user: User) -> Response:
        found = settings.models
        if not found:
            return _error(404, "not_found_error", "There is no list of models.")
        entries = [{"id": one.id, "display_name": one.display_name or one.id} for one in found]
        return JSONResponse({"data": entries}, headers=_HEADERS)

    return [
        Route(SETTINGS_PATH, _authenticated(own_store, managed), methods=["GET"]),
        Route(MODELS_PATH, _authenticated(own_store, models), methods=["GET"]),
    ]


def settings_checksum(settings: Mapping[str, Any]) -> str:
    """Return the checksum that Claude Code computes of settings, and sends back."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _authenticated(
    own_store: OwnStore, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        value = request.headers.get("authorization", "")
        token = parse(value[len(_BEARER) :].strip()) if value.lower().startswith(_BEARER) else None
        try:
            store = await own_store.get()
            result = await store.authenticate(token) if token else None
            if not isinstance(result, Authenticated):
                return _error(401, "authentication_error", "Sign in again: run /login.")
            return await handler(request, store, result.user)
        except StoreError as error:
            _log.error("managed settings: store failed", why=str(error))
            return _error(503, "api_error", "The identity store is not available.")

    return endpoint


def _error(status: int, kind: str, message: str) -> Response:
    headers = dict(_HEADERS)
    if status == 401:
        # Otherwise the client tries again for minutes before it asks to sign in.
        headers |= {"x-should-retry": "false", "www-authenticate": "Bearer"}
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return JSONResponse(body, status, headers=headers)
