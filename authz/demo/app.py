"""Build the stand-in as an ASGI application, with a mount for each provider."""

from collections.abc import Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authz.demo import anthropic, gemini, openai
from authz.demo.accounts import Accounts, Credential, Presented, present
from authz.demo.compression import Compression
from authz.demo.context import RequestContext, new_id, request_context
from authz.demo.errors import ProviderError, error_response, unauthorized

Routes = Mapping[str, Callable[[], Sequence[BaseRoute]]]
"""Returns the routes of each provider type."""

_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")

_KEYLESS = {("copilot", "/_ping"), ("anthropic", "/api/hello")}
"""Paths that the providers serve without a credential."""

ROUTES: Routes = {
    "anthropic": anthropic.routes,
    "openai": openai.openai_routes,
    "chatgpt": openai.chatgpt_routes,
    "copilot": openai.copilot_routes,
    "azure": openai.azure_routes,
    "gemini": gemini.routes,
    "bedrock": lambda: [Mount("/anthropic", routes=anthropic.routes()), *openai.mantle_routes()],
}


def create_app(
    accounts: Accounts,
    *,
    chunk_delay: float = 0.02,
    routes: Routes = ROUTES,
    middleware: Sequence[Middleware] = (),
) -> Starlette:
    """Return the stand-in.

    Args:
        accounts: the providers to imitate and the credentials they accept.
        chunk_delay: seconds between two pieces of a streamed response.
        routes: the routes of each provider type.
        middleware: applied to requests with an accepted credential.
    """
    # Paths with an extra slash get a provider's 404 instead of a redirect.
    mounts: list[BaseRoute] = [
        Mount(f"/{name}", Router(routes[kind](), redirect_slashes=False))
        for name, kind in accounts.types.items()
    ]
    app = Starlette(
        routes=mounts,
        middleware=[
            Middleware(Compression),
            Middleware(CredentialMiddleware, accounts, chunk_delay),
            *middleware,
        ],
        exception_handlers={
            ProviderError: _provider_error,
            HTTPException: _http_error,
            Exception: _internal_error,
        },
    )
    app.router.redirect_slashes = False
    return app


class CredentialMiddleware:
    """ASGI middleware that checks the credential of each request."""

    def __init__(self, app: ASGIApp, accounts: Accounts, chunk_delay: float) -> None:
        """Wrap `app`, which gets only requests with an accepted credential."""
        self._app = app
        self._accounts = accounts
        self._chunk_delay = chunk_delay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or store its context and pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        provider, path, presented = read_request(self._accounts, scope)
        if not provider:
            await _drain(scope, receive)
            await JSONResponse({"error": "no such provider"}, 404)(scope, receive, send)
            return
        kind = self._accounts.types[provider]
        if kind == "bedrock":
            # Bedrock has the APIs of both.
            kind = "anthropic" if path.startswith("/anthropic/") else "openai"
        request_id = new_id("req")
        credential = self._accounts.accept(provider, presented)
        send = _with_headers(send, kind, request_id, credential)
        if credential is None:
            await _drain(scope, receive)
            if (kind, path) in _KEYLESS and presented == Presented():
                await PlainTextResponse("OK")(scope, receive, send)
                return
            await unauthorized(kind, request_id, presented)(scope, receive, send)
            return
        context = RequestContext(kind, request_id, credential, self._chunk_delay)
        scope.setdefault("state", {})["context"] = context
        await self._app(scope, receive, send)


def read_request(accounts: Accounts, scope: Scope) -> tuple[str, str, Presented]:
    """Return the provider, the path below it and the credential of a request.

    For an unknown provider, the provider is empty and the path is the whole path.
    """
    raw_path = scope["raw_path"].decode("latin-1")
    provider, path = _split(raw_path)
    if provider not in accounts.types:
        return "", raw_path, Presented()
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    ]
    return provider, path, present(accounts.types[provider], headers)


def _split(raw_path: str) -> tuple[str, str]:
    name, slash, rest = raw_path.removeprefix("/").partition("/")
    return name, slash + rest


async def _drain(scope: Scope, receive: Receive) -> None:
    # Some clients report a broken pipe if the response comes before the end of the request.
    if scope["type"] == "http":
        async for _ in Request(scope, receive).stream():
            pass


def _with_headers(
    send: Send, provider_type: str, request_id: str, credential: Credential | None
) -> Send:
    extra = {"request-id" if provider_type == "anthropic" else "x-request-id": request_id}
    if provider_type != "anthropic":
        extra["openai-version"] = "2020-10-01"
    if credential is not None:
        extra["x-demo-credential-kind"] = credential.kind
        extra["x-demo-credential-hint"] = credential.hint
        extra["x-demo-credential-header"] = credential.header
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in extra.items()]

    async def wrapped(message: Message) -> None:
        if message["type"] in _STARTS:
            message["headers"] = [*message.get("headers", ()), *encoded]
        await send(message)

    return wrapped


def _error(request: Request, error: ProviderError) -> Response:
    context = request_context(request)
    return error_response(context.provider_type, context.request_id, error)


def _provider_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ProviderError):
        raise error
    return _error(request, error)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    message = ""
    if request_context(request).provider_type != "anthropic":
        _, path = _split(request.url.path)
        message = f"Invalid URL ({request.method} {path})"
    return _error(request, ProviderError(error.status_code, message, headers=error.headers))


def _internal_error(_request: Request, error: Exception) -> Response:
    # Only the type, because the message could contain a header.
    return JSONResponse({"error": f"the stand-in failed: {type(error).__name__}"}, 500)
