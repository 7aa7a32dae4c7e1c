"""The method that the servers serve in tests."""

import asyncio

import grpc

from authz.check.ext_authz import METHOD
from authz.delayed import DelayedResponse
from authz.transport.common import Methods, UnaryMethod
from authz.transport.grpcio_server import GrpcServer
from authz.transport.http2.server import Http2Server

Server = GrpcServer | Http2Server


class Checks:
    """Answers a message backwards; ``slow…`` waits, ``bad`` raises, ``delay=…`` is delayed.

    Attributes:
        slow: how many of those that wait have arrived.
    """

    def __init__(self) -> None:
        self.slow = 0
        self.cancelled = 0
        self.release = asyncio.Event()

    def methods(self, *, immediate: bool = False) -> Methods:
        """Return ``check`` as the one method of a server."""
        return {METHOD: UnaryMethod(self.check, immediate)}

    async def until_slow(self, count: int = 1) -> None:
        """Wait until as many messages that wait have arrived."""
        async with asyncio.timeout(60):
            while self.slow < count:  # noqa: ASYNC110 - counted in many places
                await asyncio.sleep(0.005)

    async def check(self, message: bytes) -> bytes:
        """Answer one check."""
        if message == b"bad":
            raise ValueError("secret")
        if message.startswith(b"slow"):
            self.slow += 1
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if message.startswith(b"delay="):
            return DelayedResponse(message[::-1], float(message[6:]))
        return message[::-1]


def method_of(
    channel: grpc.aio.Channel, path: str = METHOD
) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return a callable that calls a method, bytes in and bytes out."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return method
