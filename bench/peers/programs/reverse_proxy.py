"""A gateway as it is often written in Python: Starlette in front, httpx or aiohttp to the provider.

Run by uvicorn in its own environment, so it imports nothing of this project. A dictionary of hashes
stands for the look-up, which favours it. ``BENCH_CLIENT`` says which client.
"""

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

_USERS = {hashlib.sha256(os.environ["BENCH_TOKEN"].encode()).digest(): "bench"}
_KEY = os.environ["BENCH_CENTRAL_KEY"]
_PROVIDERS = {
    "anthropic": os.environ["BENCH_PROVIDER"],
    "streaming": os.environ["BENCH_STREAMING_PROVIDER"],
}
_NOT_FORWARDED = {"host", "authorization", "x-api-key", "content-length", "connection"}
_NOT_RETURNED = {"connection", "transfer-encoding", "content-encoding", "date", "server"}
_LIMIT = 1000

Forward = Callable[[str, str, dict[str, str], bytes], Awaitable[Response]]


def _kept(headers: Mapping[str, str], dropped: set[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in dropped}


@contextlib.asynccontextmanager
async def _httpx() -> AsyncIterator[Forward]:
    limits = httpx.Limits(max_connections=_LIMIT, max_keepalive_connections=_LIMIT)
    async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:  # noqa: S113

        async def forward(method: str, url: str, headers: dict[str, str], body: bytes) -> Response:
            request = client.build_request(method, url, headers=headers, content=body)
            answer = await client.send(request, stream=True)

            async def pieces() -> AsyncIterator[bytes]:
                try:
                    async for piece in answer.aiter_raw():
                        yield piece
                finally:
                    await answer.aclose()

            kept = _kept(answer.headers, _NOT_RETURNED)
            return StreamingResponse(pieces(), answer.status_code, kept)

        yield forward


@contextlib.asynccontextmanager
async def _aiohttp() -> AsyncIterator[Forward]:
    connector = aiohttp.TCPConnector(limit=_LIMIT)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:

        async def forward(method: str, url: str, headers: dict[str, str], body: bytes) -> Response:
            answer = await client.request(method, url, headers=headers, data=body)

            async def pieces() -> AsyncIterator[bytes]:
                async with answer:
                    async for piece in answer.content.iter_any():
                        yield piece

            return StreamingResponse(pieces(), answer.status, _kept(answer.headers, _NOT_RETURNED))

        yield forward


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    clients = {"httpx": _httpx, "aiohttp": _aiohttp}
    async with clients[os.environ["BENCH_CLIENT"]]() as forward:
        app.state.forward = forward
        yield


async def _gateway(request: Request) -> Response:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if hashlib.sha256(token.encode()).digest() not in _USERS:
        return PlainTextResponse("unauthorized", 401)
    url = f"{_PROVIDERS[request.path_params['provider']]}/{request.path_params['path']}"
    headers = _kept(request.headers, _NOT_FORWARDED)
    headers["x-api-key"] = _KEY
    forward: Forward = request.app.state.forward
    return await forward(request.method, url, headers, await request.body())


app = Starlette(
    routes=[Route("/{provider}/{path:path}", _gateway, methods=["GET", "POST"])],
    lifespan=_lifespan,
)
