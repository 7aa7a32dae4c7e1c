"""Keys that the stand-in refuses, with the status that each test asks for."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from authz.demo.accounts import Accounts
from authz.demo.app import read_request
from authz.demo.errors import error_response
from tests.support.provider.faults import failure


class RefusalMiddleware:
    """ASGI middleware that answers requests with some keys by the status of the key."""

    def __init__(
        self, app: ASGIApp, accounts: Accounts, refused: Mapping[str, int], retry_after: int
    ) -> None:
        """Wrap `app`, which gets the requests with other keys."""
        self._app = app
        self._accounts = accounts
        self._refused = refused
        self._retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "http":
            provider, _, presented = read_request(self._accounts, scope)
            status = self._refused.get(presented.value or "")
            if provider and status is not None:
                async for _ in Request(scope, receive).stream():
                    pass
                kind = self._accounts.types[provider]
                error = failure(status, self._retry_after)
                await error_response(kind, "req_1", error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
