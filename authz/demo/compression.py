"""Compress responses, including streams, as real providers do."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp


class Compression(GZipMiddleware):
    """ASGI middleware that compresses JSON and server-sent events with gzip.

    By default Starlette does not compress event streams. It flushes each piece, so that an event
    still arrives as soon as it is sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`. Empty responses stay empty."""
        super().__init__(app, minimum_size=1, exclude_content_types=())
