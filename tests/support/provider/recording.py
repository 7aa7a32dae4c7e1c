"""Record the requests that reach the stand-in."""

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from authz.demo.accounts import Accounts
from authz.demo.app import read_request

Observer = Callable[["RecordedRequest"], None]


@dataclass(frozen=True)
class RecordedRequest:
    """A request as it reached the provider.

    Attributes:
        provider: the mount's name; empty when the request fits no mount.
        method: the HTTP method.
        path: the path below the mount, still percent-encoded.
        query: the raw query string.
        headers: lower-case names and values, in order, repeated ones included.
        credential_header: the header with the credential, or None.
        credential: the credential, right or wrong, or None.
    """

    provider: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]] = field(repr=False)
    credential_header: str | None
    credential: str | None = field(repr=False)

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        return [value for key, value in self.headers if key == name.lower()]


class RecordingMiddleware:
    """ASGI middleware that shows each request to an observer before its body is read."""

    def __init__(self, app: ASGIApp, accounts: Accounts, observer: Observer) -> None:
        """Wrap `app`. The observer also gets the requests that `app` refuses."""
        self._app = app
        self._accounts = accounts
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a request and pass it on."""
        if scope["type"] in ("http", "websocket"):
            self._observer(self._record(scope))
        await self._app(scope, receive, send)

    def _record(self, scope: Scope) -> RecordedRequest:
        provider, path, presented = read_request(self._accounts, scope)
        return RecordedRequest(
            provider,
            scope.get("method", "GET"),
            path,
            scope["query_string"].decode("latin-1"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            presented.header,
            presented.value,
        )
