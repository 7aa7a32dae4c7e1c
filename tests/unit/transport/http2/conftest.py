"""authz's own server and the reference, as fixtures."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from authz.addresses import UnixAddress
from authz.transport.grpcio_server import GrpcServer
from authz.transport.http2.server import Http2Server
from tests.unit.transport.http2.served import Checks, Server


@pytest.fixture
async def checks() -> Checks:
    """The checks that the servers serve."""
    return Checks()


@pytest.fixture(params=[Http2Server, GrpcServer])
async def server(
    request: pytest.FixtureRequest, checks: Checks, tmp_path: Path
) -> AsyncIterator[Server]:
    """Our server, and the reference."""
    made: Server = request.param(checks.methods(), UnixAddress(str(tmp_path / "s")))
    await made.start()
    yield made
    await made.stop(0)


@pytest.fixture
async def channel(server: Server, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A client's connection."""
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as made:
        yield made
