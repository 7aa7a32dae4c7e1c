"""Compresses answers when the client asks for it, streams too, as real providers do."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp


class Compression(GZipMiddleware):
    """ASGI middleware: gzip for JSON and for server-sent events.

    Starlette leaves streams of events as they are unless it is told otherwise. It flushes each
    piece, so that an event still arrives when it is sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`. An empty answer stays empty."""
        super().__init__(app, minimum_size=1, exclude_content_types=())
