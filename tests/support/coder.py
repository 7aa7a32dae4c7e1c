"""A small Coder server: the part of its API that concerns tokens."""

import asyncio
import contextlib
import json
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.canned import BUILD_INFO, Canned
from tests.support.coder_state import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    NOT_FOUND,
    ApiKey,
    CoderState,
    Refused,
    User,
)
from tests.support.threaded import served

_NANOSECOND = 1e-9
_RATE_LIMITED = "You've been rate limited. Please try again later."
_VERSION = "v2.36.0+0123456"


class Coder:
    """The server; ``with Coder().running() as coder`` serves at ``coder.url``.

    Attributes:
        state: users and keys; deletes and suspensions are made there and count at once.
        calls: how often each path was asked, counted when the call arrives.
        headers: of each call, newest last; names in lower case.
        clients: the addresses that calls came from: one for each connection.
        answering: how many calls have had their token checked and wait for ``delay``.
        hanging: how many calls hang now.
        canned: answers by path, given instead of the server's own.
        delay: seconds before each answer, after the token was checked.
        hang: never answer.
        hang_unknown: never answer about a token that is not good.
        reset: cut the connection with a TCP reset instead of answering.
        rate_limit: calls of ``users/me`` that a user has left; None means no limit.
        bad_limit: calls of ``users/me`` with a bad token that everybody has left, since they all
            come from one address; None means no limit.
    """

    def __init__(self, *, newer: bool = True) -> None:
        self.newer = newer
        self.url = ""
        self.port = 0
        self.clear()

    def clear(self) -> None:
        """Reset the server, as if newly installed."""
        self.state = CoderState(newer=self.newer)
        self.calls: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.clients: set[tuple[str, int]] = set()
        self.answering = self.hanging = 0
        self.canned: dict[str, Canned] = {}
        self.delay = 0.0
        self.hang = self.hang_unknown = self.reset = False
        self.rate_limit: dict[str, int] | None = None
        self.bad_limit: int | None = None

    @property
    def tokens(self) -> list[str]:
        """The values of ``Coder-Session-Token`` so far, newest last."""
        header = "coder-session-token"
        return [headers[header] for headers in self.headers if header in headers]

    @contextlib.contextmanager
    def running(
        self, *, port: int = 0, certificate: tuple[Path, Path] | None = None
    ) -> Iterator["Coder"]:
        """Serve in a thread until the block ends; it can be entered again.

        Args:
            port: 0 lets the system choose one.
            certificate: PEM files of the chain and its key; with it the server speaks TLS.
        """
        app = self._faults(self._app())
        with served(app, port=port, certificate=certificate) as self.port:
            self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
            yield self

    def _app(self) -> Starlette:
        user = "/api/v2/users/{user}"
        routes = {
            ("GET", BUILD_INFO): self._build_info,
            ("GET", f"{user}/keys/tokens/tokenconfig"): self._token_config,
            ("POST", f"{user}/keys/tokens"): self._create_token,
            ("GET", f"{user}/keys/tokens"): self._list_tokens,
            ("GET", f"{user}/keys/tokens/{{name}}"): self._named_token,
            ("PUT", f"{user}/keys/{{id}}/expire"): self._expire_key,
            ("DELETE", f"{user}/keys/{{id}}"): self._delete_key,
            ("GET", f"{user}/keys/{{id}}"): self._key,
            ("POST", f"{user}/keys"): self._create_session,
            ("GET", user): self._user,
        }
        return Starlette(
            routes=[Route(path, call, methods=[method]) for (method, path), call in routes.items()],
            exception_handlers={Refused: self._refused},
        )

    def _faults(self, app: ASGIApp) -> ASGIApp:
        """Apply the fault switches before the server."""

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"]
            self.calls[path] += 1
            self.clients.add(scope["client"])
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            self.headers.append(headers)
            if self.reset:
                _reset(send)
                return
            if self.hang or (self.hang_unknown and not self._is_good(headers)):
                self.hanging += 1
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.hanging -= 1
                return
            canned = self.canned.get(path)
            if canned is not None:
                response = Response(canned.body, canned.status, dict(canned.headers))
                await response(scope, receive, send)
                return
            await app(scope, receive, send)

        return respond

    def _is_good(self, headers: Mapping[str, str]) -> bool:
        try:
            self.state.authenticate(headers.get("coder-session-token", ""))
        except Refused:
            return False
        return True

    def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        response = _json(error.status, error.body)
        if error.status == 429:
            response.headers["retry-after"] = "60"
        if error.status in (401, 403) and self.newer:
            kind = "invalid_token" if error.status == 401 else "insufficient_scope"
            description = error.body.get("detail") or error.body["message"]
            description = description.replace('"', "'")
            response.headers["www-authenticate"] = (
                f'Bearer realm="coder", error="{kind}", error_description="{description}", '
                f'resource_metadata="{self.url}/.well-known/oauth-protected-resource"'
            )
        return response

    async def _authenticated(self, request: Request, action: str) -> tuple[User, User]:
        """Return the caller and the user named by the path; Refused for a bad token or scope."""
        try:
            key, me = self.state.authenticate(request.headers.get("coder-session-token", ""))
        except Refused:
            if self.bad_limit is not None:
                self.bad_limit -= 1
                if self.bad_limit < 0:
                    raise Refused(429, _RATE_LIMITED) from None
            raise
        if self.rate_limit is not None:
            left = self.rate_limit.get(me.username, 0)
            self.rate_limit[me.username] = left - 1
            if left <= 0:
                raise Refused(429, _RATE_LIMITED)
        if self.delay:
            self.answering += 1
            await asyncio.sleep(self.delay)
            self.answering -= 1
        if not key.may(action):
            raise Refused(404, NOT_FOUND)
        user = self.state.user(request.path_params["user"], me)
        if user is not me:
            raise Refused(404, NOT_FOUND)  # nobody here has a role that sees others
        return me, user

    async def _build_info(self, request: Request) -> Response:
        return _json(
            200,
            {
                "external_url": "https://github.com/coder/coder/commit/0123456",
                "version": _VERSION,
                "dashboard_url": self.url,
                "telemetry": False,
                "workspace_proxy": False,
                "agent_api_version": "1.0",
                "provisioner_api_version": "1.0",
                "upgrade_message": "",
                "deployment_id": "4c3b0f6e-2a15-4b7e-9d0a-7e4c2f5a6b1d",
                "webpush_public_key": "",
            },
        )

    async def _user(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "user:read")
        return _json(200, user.as_json())

    async def _token_config(self, request: Request) -> Response:
        await self._authenticated(request, "api_key:read")
        return _json(200, {"max_token_lifetime": _nanoseconds(MAX_LIFETIME)})

    async def _create_token(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "api_key:create")
        wanted = json.loads(await request.body() or b"{}")
        lifetime = timedelta(
            seconds=wanted.get("lifetime", _nanoseconds(DEFAULT_LIFETIME)) * _NANOSECOND
        )
        if lifetime <= timedelta():
            raise Refused(400, "lifetime must be positive number greater than 0")
        if lifetime > MAX_LIFETIME:
            raise Refused(400, f"lifetime must be less than {MAX_LIFETIME.days * 24}h0m0s")
        name = wanted.get("token_name") or f"made_{len(self.state.keys)}"
        scopes = wanted.get("scopes") or [wanted.get("scope") or "coder:all"]
        text = self.state.create_key(user.username, lifetime=lifetime, name=name, scopes=scopes)
        return _json(201, {"key": text})

    async def _create_session(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "api_key:create")
        text = self.state.create_key(
            user.username, login_type="password", lifetime=DEFAULT_LIFETIME
        )
        return _json(201, {"key": text})

    def _tokens(self, user: User) -> list[ApiKey]:
        with self.state.lock:
            keys = tuple(self.state.keys.values())
        return [key for key in keys if key.user_id == user.id and key.login_type == "token"]

    async def _list_tokens(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "api_key:read")
        keys = self._tokens(user)
        if self.newer and request.query_params.get("include_expired") != "true":
            keys = [key for key in keys if key.expires_at > self.state.now()]
        shown = [key.as_json() | {"username": user.username} for key in keys]
        return _json(200, shown or None)

    async def _named_token(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "api_key:read")
        for key in self._tokens(user):
            if key.token_name == request.path_params["name"]:
                return _json(200, key.as_json())
        raise Refused(404, NOT_FOUND)

    async def _key(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "api_key:read")
        return _json(200, self.state.key(user, request.path_params["id"]).as_json())

    async def _expire_key(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "api_key:update")
        self.state.expire_key(self.state.key(user, request.path_params["id"]).id)
        return Response(status_code=204)

    async def _delete_key(self, request: Request) -> Response:
        _, user = await self._authenticated(request, "api_key:delete")
        self.state.delete_key(self.state.key(user, request.path_params["id"]).id)
        return Response(status_code=204)


def _json(status: int, body: Any) -> Response:
    # Go's encoder ends its output with a newline.
    content = json.dumps(body, separators=(",", ":")) + "\n"
    headers = {
        "content-type": "application/json; charset=utf-8",
        "x-coder-build-version": _VERSION,
    }
    return Response(content, status, headers)


def _nanoseconds(duration: timedelta) -> int:
    return int(duration.total_seconds()) * 10**9


def _reset(send: Send) -> None:
    transport = send.__self__.transport  # type: ignore[attr-defined]  # uvicorn's own cycle
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
