"""Mutual TLS between Envoy and authz: refused peers on either side, and files that change."""

import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.pb import otlp_logs_pb2 as logs
from authz.usage import receiver
from tests.support.certificates import Authority, Certificate
from tests.support.fleet import Fleet, fleet
from tests.support.pair import Provider, wait_until

HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def running(request: pytest.FixtureRequest, provider: Provider) -> Iterator[Fleet]:
    """One replica, for each transport."""
    with fleet(provider, 1, authz={"transport": request.param}) as started:
        yield started


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that neither side trusts."""
    return Authority(tmp_path_factory.mktemp("other"), "other-ca")


def _health(pair: Fleet, shown: Certificate | None, trusted: Path) -> str:
    """Ask for health as grpcio's client, and return the answer or the status."""
    credentials = grpc.ssl_channel_credentials(
        trusted.read_bytes(),
        shown.key_file.read_bytes() if shown else None,
        shown.cert_file.read_bytes() if shown else None,
    )
    with grpc.secure_channel(f"127.0.0.1:{pair.ports[0]}", credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
        except grpc.RpcError as error:
            return str(error.code())
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return name


def test_a_client_with_a_certificate(running: Fleet) -> None:
    """A client with a certificate of the right CA is served."""
    assert _health(running, running.client, running.client.ca_file) == "SERVING"


def test_a_client_without_one(running: Fleet) -> None:
    """A client without a certificate is not served."""
    unavailable = str(grpc.StatusCode.UNAVAILABLE)
    assert _health(running, None, running.client.ca_file) == unavailable


def test_no_records_from_a_client_without_a_certificate(running: Fleet) -> None:
    """The usage receiver accepts records only with Envoy's certificate."""
    message = logs.ExportLogsServiceRequest().SerializeToString()

    def send(shown: Certificate | None) -> grpc.StatusCode:
        credentials = grpc.ssl_channel_credentials(
            running.client.ca_file.read_bytes(),
            shown.key_file.read_bytes() if shown else None,
            shown.cert_file.read_bytes() if shown else None,
        )
        with grpc.secure_channel(f"127.0.0.1:{running.ports[0]}", credentials) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(receiver.METHOD)
            try:
                call(message, timeout=60)
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
        return grpc.StatusCode.OK

    assert send(running.client) is grpc.StatusCode.OK
    assert send(None) is grpc.StatusCode.UNAVAILABLE


def test_a_client_of_another_ca(running: Fleet, other: Authority, tmp_path: Path) -> None:
    """A client with a certificate of another CA is not served."""
    shown = Certificate(other, tmp_path / "shown")
    unavailable = str(grpc.StatusCode.UNAVAILABLE)
    assert _health(running, shown, running.client.ca_file) == unavailable


def test_only_envoy_connects_to_its_http_address(
    running: Fleet, other: Authority, tmp_path: Path
) -> None:
    """Only a client with Envoy's certificate reaches the HTTP address that Envoy uses."""
    for path in ("/healthz", "/readyz", "/ui/sign-in", "/api/v2/buildinfo"):
        assert httpx.get(f"{running.url}{path}").status_code == 200
    assert "versions.TLSv1.3" in running.stats("cluster.authz_http.ssl.")
    url = f"https://127.0.0.1:{running.envoy_http_ports[0]}/healthz"
    for shown, status in (
        (running.client, 200),
        (None, 0),
        (Certificate(other, tmp_path / "stranger"), 0),
    ):
        context = ssl.create_default_context(cafile=running.client.ca_file)
        if shown is not None:
            context.load_cert_chain(shown.cert_file, shown.key_file)
        try:
            got = httpx.get(url, verify=context).status_code
        except httpx.TransportError:
            got = 0
        assert got == status


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(running: Fleet, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 are accepted, with h2 by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(running.client.ca_file)
    context.load_cert_chain(running.client.cert_file, running.client.key_file)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", running.ports[0]), 60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.selected_alpn_protocol() == "h2"
        assert tls.recv(9)[3] == 4, "SETTINGS"


@pytest.mark.parametrize("data", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_plain_text(running: Fleet, data: bytes) -> None:
    """A client that does not use TLS gets no HTTP/2 in return."""
    with socket.create_connection(("127.0.0.1", running.ports[0]), 60) as plain:
        plain.sendall(data + b"\0\0\0\4\0\0\0\0\0")
        answer = b""
        try:
            while part := plain.recv(4096):
                answer += part
        except ConnectionResetError:
            pass
    # At most an alert of TLS, which has the content type 21.
    assert answer[:1] in (b"", b"\x15"), answer


def test_envoy_speaks_tls_1_3(running: Fleet) -> None:
    """The checks use TLS 1.3, although Envoy's own maximum as a client is 1.2."""
    token = running.create_token("alice")
    assert running.status(token) == 200
    stats = running.stats("cluster.authz.ssl.")
    assert stats.get("versions.TLSv1.3", 0) > 0
    assert "versions.TLSv1.2" not in stats


def test_a_bad_replacement(running: Fleet) -> None:
    """An unusable certificate is named in the log, and the last good one stays in use."""
    server = running.servers[0]
    good = server.cert_file.read_bytes()
    text = "authz.tls not replaced"
    before = running.stderr.count(text)
    server.cert_file.write_text("no certificate")
    wait_until(lambda: running.stderr.count(text) > before, 10, "the log")
    line = next(line for line in running.stderr.splitlines() if text in line)
    assert str(server.cert_file) in line
    assert _health(running, running.client, running.client.ca_file) == "SERVING"
    server.cert_file.write_bytes(good)


def test_envoys_http_address_takes_new_certificates(running: Fleet, tmp_path: Path) -> None:
    """A renewed certificate and CA apply to the next connection, without a restart."""
    server, url = running.servers[0], f"https://127.0.0.1:{running.envoy_http_ports[0]}/healthz"
    renewed = Authority(tmp_path, "renewed-ca")
    client = Certificate(renewed, tmp_path / "client")

    def passes(shown: Certificate) -> bool:
        context = ssl.create_default_context(cafile=shown.ca_file)
        context.load_cert_chain(shown.cert_file, shown.key_file)
        try:
            return httpx.get(url, verify=context).status_code == 200
        except httpx.TransportError:
            return False

    assert passes(running.client)
    server.renew(renewed)
    server.trust(renewed)
    wait_until(lambda: passes(client), 20, "the renewed certificate")
    assert not passes(running.client)
    server.renew(running.authority)
    server.trust(running.authority)
    wait_until(lambda: passes(running.client), 20, "the old certificate")
    wait_until(lambda: running.healthy() == 1, 20, "a healthy replica")


@pytest.mark.parametrize("running", ["http2"], indirect=True)
def test_servers_that_are_not_authz(running: Fleet, other: Authority) -> None:
    """Nothing passes, with a 503, if the server's name or CA is wrong or it refuses Envoy."""
    right, token = running.servers[0], running.create_token("alice")
    elsewhere = Certificate(running.authority, running.folder / "elsewhere", "127.0.0.2")
    stranger = Certificate(other, running.folder / "stranger")
    stranger.trust(running.authority)
    distrusting = Certificate(running.authority, running.folder / "distrusting")
    distrusting.trust(other)
    for wrong in (elsewhere, stranger, distrusting):
        running.end_replica(0, signal.SIGKILL)
        running.servers[0] = wrong
        running.start_replica(0, wait=False)
        wait_until(lambda: _listens(running), 10, "the wrong one listening")
        running.provider.take()
        assert running.status(token) == 503
        assert running.provider.take() == []
        # Envoy looks once a second, and the one before was healthy.
        wait_until(lambda: running.healthy() == 0, 10, "no healthy replica")
    running.end_replica(0, signal.SIGKILL)
    running.servers[0] = right
    running.start_replica(0)
    wait_until(lambda: running.status(token) == 200, 10, "the right one being asked")


def _listens(pair: Fleet) -> bool:
    try:
        socket.create_connection(("127.0.0.1", pair.ports[0]), 1).close()
    except OSError:
        return False
    return True
