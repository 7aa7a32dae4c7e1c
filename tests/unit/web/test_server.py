"""The server itself, on a socket."""

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from authz.addresses import TcpAddress
from authz.web.api.authentication import peer
from authz.web.server import HttpServer, listen


async def test_forwarded_headers_say_nothing() -> None:
    """The peer of a request is that of its connection, whatever headers a client adds."""

    async def show(request: Request) -> Response:
        return PlainTextResponse(f"{peer(request)} {request.url.scheme}")

    listener = listen(TcpAddress("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server = HttpServer(Starlette(routes=[Route("/", show)]), listener)
    running = asyncio.create_task(server.run_until_stopped())
    headers = {
        "x-forwarded-for": "192.0.2.66",
        "x-forwarded-proto": "https",
        "forwarded": "for=192.0.2.66;proto=https",
    }
    async with httpx.AsyncClient() as client:
        answer = await client.get(url, headers=headers)
    server.stop()
    await running
    assert answer.text == "127.0.0.1 http"
