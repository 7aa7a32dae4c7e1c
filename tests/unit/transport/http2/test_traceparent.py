"""The ``traceparent`` of a check, through both transports."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest

from authz.addresses import UnixAddress
from authz.check.ext_authz import METHOD
from authz.transport.common import UnaryMethod
from authz.transport.grpcio_server import GrpcServer
from authz.transport.http2.server import Http2Server


async def _check(_message: bytes) -> bytes:
    return b"plain"


def _traced(traceparent: bytes) -> Callable[[bytes], Awaitable[bytes]]:
    async def answer(_message: bytes) -> bytes:
        return traceparent

    return answer


@pytest.mark.parametrize("server_type", [Http2Server, GrpcServer])
async def test_each_call_has_its_own(
    server_type: type[Http2Server] | type[GrpcServer], tmp_path: Path
) -> None:
    """A call has its own ``traceparent`` or none, however they alternate."""
    address = UnixAddress(str(tmp_path / "s"))
    server = server_type({METHOD: UnaryMethod(_check, traced=_traced)}, address)
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{address.path}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        for value in ("one", None, "two", "two", None, None, "one"):
            metadata = (("traceparent", value),) if value else ()
            assert await call(b"", metadata=metadata) == (value or "plain").encode()
    await server.stop(1)
