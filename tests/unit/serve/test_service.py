"""authz.serve.service: a start that fails closes every part that it has started."""

import asyncio
import gc
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from authz.config.settings import Config
from authz.errors import StartError
from authz.identity.open import open_store
from authz.serve.service import serve
from authz.serve.workers import Worker
from authz.transport.common import bind
from tests.support.ports import free_port


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with an identity store; the collector is afterwards as it was."""

    async def create() -> None:
        await (await open_store(f"sqlite:///{tmp_path}/authz.db", create=True)).close()

    asyncio.run(create())
    yield tmp_path
    gc.unfreeze()


def _config(folder: Path, transport: str, port: int) -> Config:
    return Config.model_validate(
        {
            "identity": f"sqlite:///{folder}/authz.db",
            "usage": {"enabled": True},
            "authz": {
                "grpc": f"unix:{folder}/authz.sock",
                "http": f"127.0.0.1:{port}",
                "transport": transport,
            },
        }
    )


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def _start(config: Config, listeners: Sequence[socket.socket] | None = None) -> None:
    worker = Worker(0, listeners) if listeners is not None else None
    asyncio.run(serve(config, lambda: config, worker))


def _sockets(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_socket()]


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_the_grpc_address_is_taken(folder: Path, transport: str) -> None:
    """The start fails, and the HTTP port is free again and Envoy's HTTP socket is gone."""
    config = _config(folder, transport, free_port())
    open_files = []
    # Twice, since libraries keep some files open after the first time.
    for _ in range(2):
        with bind(config.authz.worker_address(0)), pytest.raises(StartError, match=r"authz\.grpc"):
            _start(config)
        assert _sockets(folder) == ["authz.sock"]
        open_files.append(_descriptors())
        bind(config.authz.http).close()
    assert open_files[1] <= open_files[0]


def test_the_http_address_is_taken(folder: Path) -> None:
    """The start fails before there is any socket file, and closes the stores."""
    config = _config(folder, "http2", free_port())
    open_files = []
    for _ in range(2):
        with bind(config.authz.http), pytest.raises(StartError, match=r"authz\.http"):
            _start(config)
        assert _sockets(folder) == []
        open_files.append(_descriptors())
    assert open_files[1] <= open_files[0]


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_http_fails_after_grpc_was_bound(folder: Path, transport: str) -> None:
    """The error of the HTTP side reaches the caller, and the gRPC socket is gone."""
    config = _config(folder, transport, free_port())
    closed = socket.socket()
    closed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        _start(config, [closed])
    assert _sockets(folder) == []
