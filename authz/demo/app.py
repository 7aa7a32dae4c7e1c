"""The stand-in as an ASGI application: one door for every request, then a mount per provider."""

from collections.abc import Callable, Sequence

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
from authz.demo.errors import ProviderError, error_response, unauthorized
from authz.demo.recording import Seen, Visit, new_id, visit_of

Observer = Callable[[Seen], None]

_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")

_KEYLESS = {("copilot", "/_ping"), ("anthropic", "/api/hello")}
"""What providers answer to everyone."""

_ROUTES: dict[str, Callable[[], Sequence[BaseRoute]]] = {
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
    observer: Observer | None = None,
    chunk_delay: float = 0.02,
) -> Starlette:
    """Return the stand-in.

    Args:
        accounts: the providers to imitate and the credentials they accept.
        observer: called with every request, rejected ones included, before its body is read.
        chunk_delay: seconds between two pieces of a streamed answer.
    """
    # Each router refuses what a real provider would refuse, instead of a redirect to a near miss.
    mounts: list[BaseRoute] = [
        Mount(f"/{name}", Router(_ROUTES[kind](), redirect_slashes=False))
        for name, kind in accounts.types.items()
    ]
    app = Starlette(
        routes=mounts,
        middleware=[
            Middleware(Compression),
            Middleware(Door, accounts, observer, chunk_delay),
        ],
        exception_handlers={
            ProviderError: _provider_error,
            HTTPException: _http_error,
            Exception: _bug,
        },
    )
    app.router.redirect_slashes = False
    return app


class Door:
    """ASGI middleware: shows each request to the observer and checks its credential."""

    def __init__(
        self, app: ASGIApp, accounts: Accounts, observer: Observer | None, chunk_delay: float
    ) -> None:
        """Wrap `app`, which sees only requests with an accepted credential."""
        self._app = app
        self._accounts = accounts
        self._observer = observer
        self._chunk_delay = chunk_delay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request here, or note the visit and pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        raw_path = scope["raw_path"].decode("latin-1")
        provider, path = _split(raw_path)
        if provider not in self._accounts.types:
            provider, path = "", raw_path
        kind = self._accounts.types.get(provider, "")
        presented = present(kind, headers) if provider else Presented()
        if kind == "bedrock":
            # Two APIs in one.
            kind = "anthropic" if path.startswith("/anthropic/") else "openai"
        if self._observer is not None:
            query = scope["query_string"].decode("latin-1")
            self._observer(
                Seen(
                    provider,
                    scope.get("method", "GET"),
                    path,
                    query,
                    headers,
                    presented.header,
                    presented.value,
                )
            )
        if not provider:
            await _drain(scope, receive)
            await JSONResponse({"error": "no such provider"}, 404)(scope, receive, send)
            return
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
        scope.setdefault("state", {})["visit"] = Visit(
            kind, request_id, credential, self._chunk_delay
        )
        await self._app(scope, receive, send)


def _split(raw_path: str) -> tuple[str, str]:
    name, slash, rest = raw_path.removeprefix("/").partition("/")
    return name, slash + rest


async def _drain(scope: Scope, receive: Receive) -> None:
    # An answer before the end of the body makes some clients report a broken pipe instead of it.
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


def _answer(request: Request, error: ProviderError) -> Response:
    visit = visit_of(request)
    return error_response(visit.provider_type, visit.request_id, error)


def _provider_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ProviderError):
        raise error
    return _answer(request, error)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    message = ""
    if visit_of(request).provider_type != "anthropic":
        _, path = _split(request.url.path)
        message = f"Invalid URL ({request.method} {path})"
    return _answer(request, ProviderError(error.status_code, message, headers=error.headers))


def _bug(request: Request, error: Exception) -> Response:
    # The type alone: the text of an exception can quote a header.
    return JSONResponse({"error": f"the stand-in failed: {type(error).__name__}"}, 500)
