"""A provider, run as a process of its own, whose streams go on until they are told to end.

It prints its port. Every line on its standard input is sent as an event on each open stream; the
end of the input ends them all.
"""

import asyncio
import sys
from typing import ClassVar

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(text: str) -> bytes:
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


class _Streams(asyncio.Protocol):
    open: ClassVar[set[asyncio.Transport]] = set()

    def __init__(self) -> None:
        self._request = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._request += data
        # The request's body ends with the only brace that ends a line of its own.
        if self._request.endswith(b"}"):
            self._request = b""
            self._transport.write(HEAD + _chunk("begins"))
            self.open.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self.open.discard(self._transport)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Streams, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        for transport in tuple(_Streams.open):
            transport.write(_chunk(line.strip()))
    for transport in tuple(_Streams.open):
        transport.write(b"0\r\n\r\n")
    await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(_main())
