"""A provider whose streams go on until the test ends them."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.threaded import served

_TICK_SECONDS = 0.05


class Held:
    """A provider in Anthropic's format that accepts only one key.

    Attributes:
        name: what it says of itself.
        url: its base URL.
        strangers: every other credential that reached it; there should be none.
        count: requests with the right one.
    """

    def __init__(self, name: str, key: str) -> None:
        self.url = ""
        self.strangers: list[str] = []
        self.count = 0
        self.name = name
        self._key = key
        self._released = threading.Event()

    def release(self) -> None:
        """End the open streams."""
        self._released.set()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve until the block ends."""
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])
        with served(app) as port:
            self.url = f"http://127.0.0.1:{port}/"
            yield
            self.release()

    async def _answer(self, request: Request) -> Response:
        credential = request.headers.get("x-api-key", "")
        if credential != self._key:
            self.strangers.append(credential)
            return JSONResponse({"error": "a key of somebody else"}, 401)
        self.count += 1
        if request.method == "POST" and (await request.json()).get("stream"):
            return StreamingResponse(self._ticks(), media_type="text/event-stream")
        return JSONResponse({"served_by": self.name})

    async def _ticks(self) -> AsyncIterator[str]:
        number = 0
        while not self._released.is_set():
            yield f"data: {number}\n\n"
            number += 1
            await asyncio.sleep(_TICK_SECONDS)
        yield "data: end\n\n"


class HeldStream:
    """A stream of a ``Held`` provider, read by a thread of its own.

    Args:
        client: where it is read from; it decides on HTTP/1.1 or HTTP/2.
        url: of the request.
        token: brought as ``x-api-key``.
    """

    def __init__(self, client: httpx.Client, url: str, token: str) -> None:
        self.events: list[str] = []
        self.error = ""
        self.version = ""
        self._client = client
        self._request = (url, token)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def join(self) -> None:
        """Wait until the stream has ended."""
        self._thread.join(60)
        assert not self._thread.is_alive()

    def assert_whole(self) -> None:
        """Assert that all events have arrived, including the last one."""
        assert self.error == ""
        assert self.events == [*map(str, range(len(self.events) - 1)), "end"]

    def _read(self) -> None:
        url, token = self._request
        try:
            with self._client.stream(
                "POST", url, headers={"x-api-key": token}, json={"stream": True}, timeout=60
            ) as answer:
                self.version = answer.http_version
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        self.events.append(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            self.error = type(error).__name__
