"""A stand-in for Coder's API that costs little: one good token, everything else is 401.

Run as ``python -m bench.coder PORT TOKEN``.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop

_USER = {
    "id": "0d6ec7f4-9ea1-4d3c-8f0e-1f2e3d4c5b6a",
    "username": "bench",
    "email": "bench@example.com",
    "status": "active",
}
_BUILD = {"version": "v2.36.0+0123456", "external_url": "https://example.com"}
_REFUSED = {
    "message": "You are signed out or your session has expired. Please sign in again to continue.",
    "detail": "API key is invalid.",
}


class _Protocol(asyncio.Protocol):
    def __init__(self, token: bytes) -> None:
        self._token = token
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            if b"/api/v2/buildinfo" in head.partition(b"\r\n")[0]:
                self._answer("200 OK", _BUILD)
            elif self._token in head:
                self._answer("200 OK", _USER)
            else:
                self._answer("401 Unauthorized", _REFUSED)

    def _answer(self, status: str, values: dict[str, str]) -> None:
        body = json.dumps(values)
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        self._transport.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())


async def _serve(port: int, token: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(token.encode()), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
