"""Count bodies of any size, for tests of large uploads."""

import hashlib

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from authz.demo.context import request_context


class UploadMiddleware:
    """ASGI middleware that answers `application/octet-stream` with its size and hash."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`, which gets all other requests."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a body without keeping it, or pass the request on."""
        if scope["type"] != "http" or not _is_counted(request := Request(scope, receive)):
            await self._app(scope, receive, send)
            return
        size, digest = 0, hashlib.sha256()
        async for chunk in request.stream():
            size += len(chunk)
            digest.update(chunk)
        credential = str(request_context(request).credential)
        answer = {"bytes": size, "sha256": digest.hexdigest(), "credential": credential}
        await JSONResponse(answer)(scope, receive, send)


def _is_counted(request: Request) -> bool:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return request.method == "POST" and content_type == "application/octet-stream"
