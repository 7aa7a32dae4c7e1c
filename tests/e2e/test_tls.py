"""TLS on both sides: the offers to clients, and the providers that are trusted with a key."""

import contextlib
import os
import shutil
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
from cryptography import x509
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support import raw
from tests.support.certificates import Authority
from tests.support.pair import CENTRAL_KEYS, Pair, Provider, pair, stand_in, wait_until
from tests.support.websocket_provider import WebSocketProvider

MODELS = "/anthropic/v1/models"
CALL = {
    "model": "any",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hello"}],
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the gateway's certificate, and of the right providers'."""
    return Authority(tmp_path_factory.mktemp("ca"), "right-ca")


class Renewing:
    """A pair with a certificate that can be replaced.

    Args:
        folder: where the certificate's file is.
        key_folder: where the key's file is.
    """

    def __init__(self, authority: Authority, folder: Path, key_folder: Path) -> None:
        self.cert_file, self.key_file = folder / "tls.crt", key_folder / "tls.key"
        self._authority = authority
        issued = authority.issue()
        shutil.copy(issued[0], self.cert_file)
        shutil.copy(issued[1], self.key_file)

    @property
    def settings(self) -> dict[str, str]:
        """The ``tls`` section of ``gateway.yaml``."""
        return {"cert_file": str(self.cert_file), "key_file": str(self.key_file)}

    @property
    def serial(self) -> int:
        """The serial number of the certificate in the file."""
        return x509.load_pem_x509_certificate(self.cert_file.read_bytes()).serial_number

    def renew(self) -> int:
        """Replace both files by a rename, the certificate's first; return its serial number."""
        for source, target in zip(
            self._authority.issue(), (self.cert_file, self.key_file), strict=True
        ):
            new = target.with_suffix(".new")
            shutil.copy(source, new)
            new.replace(target)
        return self.serial


@pytest.fixture(scope="module")
def renewing(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Renewing:
    """A certificate and its key, in one folder."""
    folder = tmp_path_factory.mktemp("served")
    return Renewing(authority, folder, folder)


@pytest.fixture(scope="module")
def secured(provider: Provider, renewing: Renewing) -> Iterator[Pair]:
    """A pair whose gateway listener speaks TLS."""
    with pair(provider, tls=renewing.settings) as running:
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def token(secured: Pair) -> str:
    """A token of alice."""
    return secured.create_token("alice")


def _trusting(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.ca_file)
    return context


@contextlib.contextmanager
def _client(running: Pair, authority: Authority, **options: Any) -> Iterator[httpx.Client]:
    url = f"https://127.0.0.1:{running.port}"
    context = _trusting(authority)
    with httpx.Client(
        base_url=url, verify=context, trust_env=False, timeout=60, **options
    ) as client:
        yield client


def _served(running: Pair, authority: Authority) -> int:
    """Return the serial number of the certificate that a new connection gets."""
    address = ("127.0.0.1", running.port)
    with (
        socket.create_connection(address, 60) as wire,
        _trusting(authority).wrap_socket(wire, server_hostname="127.0.0.1") as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.parametrize(("http2", "version"), [(True, "HTTP/2"), (False, "HTTP/1.1")])
def test_alpn(secured: Pair, authority: Authority, token: str, http2: bool, version: str) -> None:
    """A client that offers HTTP/2 gets it, else HTTP/1.1, and refusals use the same version."""
    with _client(secured, authority, http2=http2, http1=not http2) as client:
        answer = client.get(MODELS, headers={"x-api-key": token})
        assert (answer.status_code, answer.http_version) == (200, version)
        refused = client.get(MODELS)
        assert (refused.status_code, refused.http_version) == (401, version)
        stream = {**CALL, "stream": True}
        answer = client.post("/anthropic/v1/messages", headers={"x-api-key": token}, json=stream)
        assert "message_stop" in answer.text


def test_without_alpn(secured: Pair, authority: Authority) -> None:
    """A client without ALPN gets HTTP/1.1."""
    address = ("127.0.0.1", secured.port)
    with (
        socket.create_connection(address, 60) as wire,
        _trusting(authority).wrap_socket(wire, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("version", "allowed"),
    [("TLSv1", False), ("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)],
)
def test_tls_versions(secured: Pair, authority: Authority, version: str, allowed: bool) -> None:
    """The gateway accepts TLS 1.2 and 1.3 and refuses older versions."""
    context = _trusting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    refused = pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version")
    with (
        socket.create_connection(("127.0.0.1", secured.port), 60) as wire,
        contextlib.nullcontext() if allowed else refused,
    ):
        context.wrap_socket(wire, server_hostname="127.0.0.1").close()


def test_no_clear_text(secured: Pair) -> None:
    """A listener with TLS does not answer in clear."""
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{secured.url}/healthz", trust_env=False)


def test_renewed_certificate(
    secured: Pair, authority: Authority, renewing: Renewing, token: str
) -> None:
    """A certificate replaced by rename is served without a restart, and an open stream goes on."""
    processes = secured.children()
    before = _served(secured, authority)
    body = {**CALL, "model": "slow-3", "stream": True}
    text = ""
    with (
        _client(secured, authority, http2=True) as client,
        client.stream(
            "POST", "/anthropic/v1/messages", headers={"x-api-key": token}, json=body
        ) as answer,
    ):
        for piece in answer.iter_text():
            if not text:
                renewing.renew()
                wait_until(lambda: _served(secured, authority) != before, 2, "the new certificate")
                assert "message_stop" not in text + piece
            text += piece
    assert "message_stop" in text
    assert secured.children() == processes


def test_broken_certificate(secured: Pair, authority: Authority, renewing: Renewing) -> None:
    """A certificate that can't be read changes nothing, and the next good one is served."""
    before = _served(secured, authority)
    broken = renewing.cert_file.with_suffix(".new")
    broken.write_text("no certificate")
    broken.replace(renewing.cert_file)
    threading.Event().wait(0.5)
    assert _served(secured, authority) == before
    new = renewing.renew()
    wait_until(lambda: _served(secured, authority) == new, 2, "the new certificate")


def test_files_in_two_folders(provider: Provider, authority: Authority, tmp_path: Path) -> None:
    """The certificate is also renewed if its key is in another folder and is replaced last."""
    for name in ("certs", "private"):
        (tmp_path / name).mkdir()
    renewing = Renewing(authority, tmp_path / "certs", tmp_path / "private")
    with pair(provider, tls=renewing.settings) as running:
        new = renewing.renew()
        wait_until(lambda: _served(running, authority) == new, 3, "the new certificate")


def test_swapped_links(secured: Pair, authority: Authority, renewing: Renewing) -> None:
    """A certificate is renewed when Kubernetes swaps the link of a mounted secret."""
    folder = renewing.cert_file.parent
    serials = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        serials.append(Renewing(authority, folder / name, folder / name).serial)
    (folder / "..data").symlink_to("first")
    for file in (renewing.cert_file, renewing.key_file):
        link = file.with_suffix(".new")
        link.symlink_to(f"..data/{file.name}")
        link.replace(file)
    wait_until(lambda: _served(secured, authority) == serials[0], 3, "the first certificate")
    (folder / "..data_tmp").symlink_to("second")
    (folder / "..data_tmp").replace(folder / "..data")
    wait_until(lambda: _served(secured, authority) == serials[1], 3, "the second certificate")


class Http2Provider:
    """Answers every request with 200 and ``{}`` over TLS, HTTP/2 only.

    Attributes:
        seen: the headers of each request.
        connections: how many handshakes have succeeded.
    """

    def __init__(self, files: tuple[Path, Path]) -> None:
        self.seen: list[dict[str, str]] = []
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        wire.settimeout(30)
        with wire, contextlib.suppress(OSError):
            tls = self._context.wrap_socket(wire, server_side=True)
            with tls:
                assert tls.selected_alpn_protocol() == "h2"
                self.connections += 1
                self._speak(tls)

    def _speak(self, tls: ssl.SSLSocket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        tls.sendall(connection.data_to_send())
        while data := tls.recv(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    named = {str(name): str(value) for name, value in event.headers or ()}
                    self.seen.append(named)
                elif isinstance(event, h2.events.StreamEnded):
                    stream = event.stream_id
                    assert stream is not None
                    headers = [(":status", "200"), ("content-type", "application/json")]
                    connection.send_headers(stream, headers)
                    connection.send_data(stream, b"{}", end_stream=True)
            tls.sendall(connection.data_to_send())


class Upstreams:
    """Providers with TLS, right and wrong, and a pair in front of them."""

    def __init__(
        self, running: Pair, http1: Provider, http2: Http2Provider, sockets: WebSocketProvider
    ) -> None:
        self.pair = running
        self.http1 = http1
        self.http2 = http2
        self.sockets = sockets
        running.create_user("alice")
        self.token = running.create_token("alice")

    def get(self, path: str) -> httpx.Response:
        """Ask with a Coder token for the central key."""
        headers = {"x-api-key": self.token}
        return httpx.get(f"{self.pair.url}{path}", headers=headers, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def upstreams(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upstreams]:
    """A pair whose providers are reached over TLS."""
    folder = tmp_path_factory.mktemp("upstream")
    other = Authority(folder, "other-ca")
    right, elsewhere = authority.issue(), authority.issue("127.0.0.2")
    keys = {}
    for name, key in CENTRAL_KEYS.items():
        (folder / f"{name}.key").write_text(key)
        keys[name] = {"file": str(folder / f"{name}.key")}
    with contextlib.ExitStack() as stack:
        enter: Callable[[Any], Any] = stack.enter_context
        http1 = enter(stand_in(certfile=str(right[0]), keyfile=str(right[1])))
        misnamed = enter(stand_in(certfile=str(elsewhere[0]), keyfile=str(elsewhere[1])))
        # One list for both, so that nothing that is sent by mistake goes unseen.
        misnamed.seen = http1.seen
        http2 = enter(Http2Provider(right))
        sockets = enter(WebSocketProvider(right))

        def anthropic(name: str, origin: str, ca_file: Path | None) -> dict[str, Any]:
            trust = {"ca_file": str(ca_file)} if ca_file else {}
            return {
                "name": name,
                "type": "anthropic",
                "base_url": origin,
                "key": keys["anthropic"],
                **trust,
            }

        port = http1.server.port
        loopback = f"https://127.0.0.1:{port}/anthropic"
        misnamed_url = f"https://127.0.0.1:{misnamed.server.port}/anthropic"
        wss = f"https://127.0.0.1:{sockets.port}/v1"
        openai = {"type": "openai", "base_url": wss, "key": keys["openai"]}
        ca_file = authority.ca_file
        providers = [
            anthropic("right", loopback, ca_file),
            anthropic("other-ca", loopback, other.ca_file),
            anthropic("system-roots", loopback, None),
            anthropic("other-name", f"https://localhost:{port}/anthropic", ca_file),
            anthropic("other-address", misnamed_url, ca_file),
            anthropic("http2", f"https://127.0.0.1:{http2.port}", ca_file),
            anthropic("http2-other-ca", f"https://127.0.0.1:{http2.port}", other.ca_file),
            {"name": "sockets", **openai, "ca_file": str(ca_file)},
            {"name": "sockets-other-ca", **openai, "ca_file": str(other.ca_file)},
        ]
        running = enter(pair(http1, providers=providers))
        yield Upstreams(running, http1, http2, sockets)


def test_trusted_upstream(upstreams: Upstreams) -> None:
    """A provider with a certificate of ``ca_file`` for its host gets the central key."""
    upstreams.http1.take()
    assert upstreams.get("/right/v1/models").status_code == 200
    (seen,) = upstreams.http1.take()
    assert seen.credential == CENTRAL_KEYS["anthropic"]


def test_http2_upstream(upstreams: Upstreams) -> None:
    """A provider with HTTP/2 is reached over it, with one connection for many requests."""
    upstreams.http2.seen.clear()
    for _ in range(5):
        assert upstreams.get("/http2/v1/models").status_code == 200
    assert [seen["x-api-key"] for seen in upstreams.http2.seen] == [CENTRAL_KEYS["anthropic"]] * 5
    assert {seen[":authority"] for seen in upstreams.http2.seen} == {
        f"127.0.0.1:{upstreams.http2.port}"
    }
    assert {seen[":scheme"] for seen in upstreams.http2.seen} == {"https"}
    # One for each worker thread of Envoy at most.
    assert upstreams.http2.connections <= (os.cpu_count() or 1)


@pytest.mark.parametrize("scheme", ["http", "https", "ftp"])
def test_scheme_of_the_upstream(upstreams: Upstreams, scheme: str) -> None:
    """The provider is told the scheme of its own connection, whatever a client claims."""
    upstreams.http2.seen.clear()
    pseudo = [(":method", "GET"), (":scheme", scheme), (":path", "/http2/v1/models")]
    headers = [*pseudo, (":authority", "gateway"), ("x-api-key", upstreams.token)]
    assert raw.ask_h2(upstreams.pair.port, headers).status == 200
    assert [seen[":scheme"] for seen in upstreams.http2.seen] == ["https"]


@pytest.mark.parametrize(
    "name", ["other-ca", "system-roots", "other-name", "other-address", "http2-other-ca"]
)
def test_untrusted_upstream(upstreams: Upstreams, name: str) -> None:
    """A provider that can't prove its name gets nothing, and the client gets a 503 in JSON."""
    upstreams.http1.take()
    upstreams.http2.seen.clear()
    answer = upstreams.get(f"/{name}/v1/models")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["type"] == "api_error"
    assert CENTRAL_KEYS["anthropic"] not in answer.text
    assert upstreams.http1.take() == []
    assert upstreams.http2.seen == []


def _open(upstreams: Upstreams, name: str) -> str | bytes:
    headers = {"authorization": f"Bearer {upstreams.token}"}
    url = f"ws://127.0.0.1:{upstreams.pair.port}/{name}/v1/responses"
    with connect(url, additional_headers=headers, proxy=None, close_timeout=0.1) as connection:
        connection.send("hello")
        return connection.recv(timeout=60)


def test_websocket_upstream(upstreams: Upstreams) -> None:
    """A WebSocket is opened over HTTP/1.1 even if the provider prefers HTTP/2."""
    upstreams.sockets.take()
    assert _open(upstreams, "sockets") == "hello"
    (handshake,) = upstreams.sockets.take()
    assert handshake.all("authorization") == [f"Bearer {CENTRAL_KEYS['openai']}"]


def test_untrusted_websocket_upstream(upstreams: Upstreams) -> None:
    """A handshake with a provider that can't prove its name is 503, and the key is not sent."""
    upstreams.sockets.take()
    with pytest.raises(InvalidStatus) as caught:
        _open(upstreams, "sockets-other-ca")
    assert caught.value.response.status_code == 503
    assert upstreams.sockets.take() == []
