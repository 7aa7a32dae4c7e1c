"""``authz serve`` alone, as a load balancer, Envoy and a second instance see it."""

import contextlib
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.check.ext_authz import METHOD
from authz.pb import ext_authz_pb2 as pb
from tests.support.pair import Pair, Provider, _environment, pair, wait_until
from tests.support.processes import running_in


class Serving:
    """A running ``authz serve`` in a pair's folder."""

    def __init__(self, stopped: Pair) -> None:
        self.pair = stopped
        (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
        with (stopped.folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "authz", "serve"],
                cwd=stopped.folder,
                env=_environment(),
                stdout=stderr,
                stderr=stderr,
            )
        wait_until(self._is_up, 15, "authz serving")

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.pair.stderr
        return self.status("/healthz") == 200

    def status(self, path: str) -> int:
        """Return the status of the HTTP side; 0 without an answer."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.pair.http_port}{path}").status_code
        return 0

    @property
    def target(self) -> str:
        """The gRPC side, for a channel."""
        address: str = self.pair.settings["authz"]["grpc"]
        return address.replace("unix:./", f"unix:{self.pair.folder}/")

    def health(self) -> str:
        """Return the serving status by grpc.health.v1."""
        with grpc.insecure_channel(self.target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return name


def _check(channel: grpc.Channel, data: bytes, method: str = METHOD) -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return call(data, timeout=60)


@pytest.fixture(scope="module")
def serving(provider: Provider) -> Iterator[Serving]:
    """The service, with a store."""
    with pair(provider, start=False) as stopped:
        stopped.create_user("alice")
        running = Serving(stopped)
        yield running
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(120) == 0
        assert not (stopped.folder / "authz.sock").exists()
        assert "Traceback" not in stopped.stderr


def test_health(serving: Serving) -> None:
    """The HTTP side is alive and ready, and gRPC reports that it serves."""
    assert serving.status("/healthz") == 200
    assert serving.status("/readyz") == 200
    assert serving.health() == "SERVING"


def test_without_a_number_there_is_one_worker(serving: Serving) -> None:
    """One process serves on any number of processors: Envoy's configuration has one address."""
    assert "workers" not in serving.pair.settings["authz"]
    assert list(running_in(serving.pair.folder)) == [serving.process.pid]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz/../../etc"])
def test_nothing_else_on_http(serving: Serving, path: str) -> None:
    """The HTTP side has no other paths."""
    assert serving.status(path) == 404


def test_not_ready_without_the_store(serving: Serving) -> None:
    """The service lives but is not ready without the store, and is ready once it is back."""
    file = serving.pair.folder / "identity.db"
    away = file.with_suffix(".away")
    file.rename(away)
    try:
        # The answer may be a second old.
        wait_until(lambda: serving.status("/readyz") == 503, what="not ready")
        assert serving.status("/healthz") == 200
    finally:
        away.rename(file)
    wait_until(lambda: serving.status("/readyz") == 200, what="ready again")


def test_socket_is_private(serving: Serving) -> None:
    """The socket has mode 0600, since a process that can connect could ask for provider keys."""
    status = (serving.pair.folder / "authz.sock").stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_second_instance_is_refused(serving: Serving) -> None:
    """A second instance fails with one line and leaves the first one serving."""
    inode = (serving.pair.folder / "authz.sock").stat().st_ino
    result = serving.pair.command("serve", check=False)
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("authz: ")]
    assert "in use" in line.lower()
    assert "authz.grpc" in line or "authz.http" in line
    assert "Traceback" not in result.stderr
    assert (serving.pair.folder / "authz.sock").stat().st_ino == inode
    assert serving.health() == "SERVING"


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xff" * 100, b"\x0a" * 5000])
def test_check_that_is_none(serving: Serving, data: bytes) -> None:
    """An invalid or empty CheckRequest never gets status 0, which means allow."""
    with grpc.insecure_channel(serving.target) as channel:
        answer = pb.CheckResponse.FromString(_check(channel, data))
    assert answer.status.code != 0
    assert not answer.HasField("ok_response")


def test_oversized_check(serving: Serving) -> None:
    """A message over a megabyte is refused by gRPC itself, and the service keeps running."""
    with grpc.insecure_channel(serving.target) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            _check(channel, b"a" * 2_000_000)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert serving.health() == "SERVING"


def test_unknown_method(serving: Serving) -> None:
    """Another gRPC method is unimplemented."""
    with grpc.insecure_channel(serving.target) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            _check(channel, b"", METHOD + "s")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("key", ["http", "grpc"])
def test_tcp_address_in_use(provider: Provider, key: str) -> None:
    """A TCP port in use is reported in a line that names the key, and no socket is left behind."""
    with (
        pair(provider, start=False) as stopped,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        stopped.settings["authz"][key] = f"127.0.0.1:{listener.getsockname()[1]}"
        (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
        result = stopped.command("serve", check=False)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"authz: authz.{key}: 127.0.0.1:")
        assert not (stopped.folder / "authz.sock").exists()


def test_stop_is_quick_with_open_connections(provider: Provider) -> None:
    """Idle gRPC and HTTP connections do not delay the end."""
    with pair(provider, start=False) as stopped:
        stopped.create_user("alice")
        running = Serving(stopped)
        with httpx.Client() as client, grpc.insecure_channel(running.target) as channel:
            client.get(f"http://127.0.0.1:{stopped.http_port}/healthz")
            _check(channel, b"")
            started = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(120) == 0
            assert time.monotonic() - started < 60
        assert running_in(stopped.folder) == {}


def test_health_through_the_gateway(gateway: Pair) -> None:
    """The gateway listener passes both health paths on, without a token."""
    for path in ("/healthz", "/readyz"):
        answer = httpx.get(f"{gateway.url}{path}")
        assert answer.status_code == 200
        assert answer.content == b""
        assert httpx.head(f"{gateway.url}{path}").status_code == 200


def test_closed_standard_streams(provider: Provider) -> None:
    """The service runs even if its parent closed the standard streams, as service managers do."""
    with pair(provider, start=False) as stopped:
        stopped.create_user("alice")
        (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
        closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
        process = subprocess.Popen(
            [*closed, sys.executable, "-m", "authz", "serve"],
            cwd=stopped.folder,
            env=_environment(),
        )
        url = f"http://127.0.0.1:{stopped.http_port}/healthz"

        def is_up() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(url).status_code == 200
            return False

        try:
            wait_until(is_up, 15, "authz serving")
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(120)
        assert status == 0
