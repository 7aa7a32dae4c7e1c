"""Attacks inside the tunnel: ends of requests, HTTP/2, WebSockets, and the tunnel's owner."""

import contextlib
import itertools
import re
import ssl
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tests.e2e.proxy.pairs import HOSTS, WEBSOCKET_HOST, Proxied, Tunnelled
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, wait_until
from tests.support.raw import Answer, Closed, Headers
from tests.support.requests import leaks
from tests.support.tls import Connect, ConnectH2, credentials, trusting
from tests.support.together import together

ANTHROPIC = HOSTS["anthropic"]
OPENAI = HOSTS["openai"]
PROVIDER = f"{ANTHROPIC}:443"
GOVERNANCE = "x-coder-ai-governance-token"
SUBPROTOCOL = "sec-websocket-protocol"
T = TypeVar("T")
BODY = b'{"model":"claude-test","max_tokens":8,"messages":[{"role":"user","content":"x"}]}'


@contextlib.contextmanager
def _inside(
    proxied: Proxied, host: str = ANTHROPIC, alpn: str = "http/1.1", *, forget: bool = True
) -> Iterator[Connect]:
    with Connect(proxied.port, f"{host}:443", credentials(proxied.token)) as connection:
        connection.start_tls(trusting(proxied.ca_file, alpn=(alpn,)), host)
        if forget:
            proxied.provider.take()
        yield connection


def test_length_that_can_be_read_in_two_ways(proxied: Proxied) -> None:
    """A body with an uncertain end is refused inside, and bytes hidden in it are not a request."""
    hidden = raw.request("GET", "/v1/models?hidden", host=ANTHROPIC)
    lengths = (
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding : chunked",
        "transfer-encoding:\r\n chunked\r\ncontent-length: 5",
    )

    def ask(case: tuple[str, str]) -> None:
        length, version = case
        head = f"POST /v1/messages {version}\r\nhost: {ANTHROPIC}\r\n{length}\r\n\r\n"
        with _inside(proxied, forget=False) as connection:
            connection.send(head.encode() + b"0\r\n\r\n" + hidden)
            with contextlib.suppress(Closed):
                assert connection.read().status in (400, 426, 501)
                # Envoy closes a second later.
                assert connection.is_closed(20)

    proxied.provider.take()
    together(ask, itertools.product(lengths, ("HTTP/1.1", "HTTP/1.0")))
    assert proxied.provider.take() == []


def test_transfer_coding_of_http_1_0(proxied: Proxied) -> None:
    """A chunked body of HTTP/1.0, which older proxies don't read as chunked, hides no request."""
    hidden = raw.request("GET", "/v1/models?hidden", host=ANTHROPIC)
    head = (
        f"POST /v1/messages HTTP/1.0\r\nhost: {ANTHROPIC}\r\nconnection: keep-alive\r\n"
        "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    with _inside(proxied) as connection:
        connection.send(head.encode() + b"0\r\n\r\n" + hidden)
        with contextlib.suppress(Closed):
            # The second answer too, or a later test would find its request at the provider.
            for _ in range(2):
                connection.read()
    # Refused, or the body ended where the coding says and what follows is a request of its own.
    seen = proxied.provider.take()
    assert not [visit for visit in seen if visit.path == "/v1/messages" and visit.query]


def _h2(
    proxied: Proxied, headers: Headers, body: bytes = b"", *, forget: bool = True
) -> Answer | None:
    with _inside(proxied, alpn="h2", forget=forget) as connection:
        assert connection.tls.selected_alpn_protocol() == "h2"
        try:
            return raw.exchange_h2(connection.tls, headers, body)
        except Closed:
            return None


def _post(*headers: tuple[str, str], path: str = "/v1/messages") -> Headers:
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", ANTHROPIC),
        (":path", path),
        ("content-type", "application/json"),
        *headers,
    ]


def test_http2(proxied: Proxied) -> None:
    """The same request without any trick passes."""
    answer = _h2(proxied, _post(), BODY)
    assert answer is not None
    assert answer.status == 200
    # The hidden one of an earlier test may arrive late.
    assert [seen.query for seen in proxied.provider.take() if seen.query != "hidden"] == [""]


def test_http2_that_is_something_else_in_http1(proxied: Proxied) -> None:
    """An HTTP/2 request that would become another one as HTTP/1 is refused inside."""
    cases: list[Headers] = [
        _post(("transfer-encoding", "chunked")),
        _post(("content-length", "5")),
        _post(("content-length", "0")),
        _post(("connection", "keep-alive")),
        _post(("x-a", "b\r\nx-api-key: sk-ant-own")),
        _post(("x-a\r\nx-api-key", "sk-ant-own")),
        _post(("x-a: b\r\nhost", OPENAI)),
        _post(path="/v1/messages HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/models?hidden"),
        _post(path="/v1/messages\r\nx-api-key: sk-ant-own"),
        _post((":authority", OPENAI)),
        _post((":path", "/v1/models")),
        [(":method", "POST /v1/models HTTP/1.1"), *_post()[1:]],
        [(":method", "GET"), (":scheme", "https"), (":path", "/v1/models")],
        [(":method", "GET"), (":scheme", "https"), (":authority", ""), (":path", "/v1/models")],
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", f"{OPENAI}#@{ANTHROPIC}"),
            (":path", "/v1/models"),
        ],
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", f"{ANTHROPIC}\t"),
            (":path", f"https://{OPENAI}/v1/models"),
        ],
    ]

    def ask(headers: Headers) -> None:
        answer = _h2(proxied, headers, BODY, forget=False)
        assert answer is None or answer.status in (400, 404, 421)

    proxied.provider.take()
    together(ask, cases)
    assert proxied.provider.take() == []


@pytest.mark.parametrize("host", [OPENAI, "example.com", "127.0.0.1"])
def test_host_beside_the_authority(proxied: Proxied, host: str) -> None:
    """A Host header next to the authority is not believed, and does not reach the provider."""
    answer = _h2(proxied, _post(("host", host)), BODY)
    seen = proxied.provider.take()
    if answer is not None and answer.status == 200:
        (visit,) = seen
        assert visit.provider == "anthropic"
        assert host not in [value.partition(":")[0] for value in visit.all("host")] or (
            host == "127.0.0.1"  # the stand-in's own
        )
    else:
        assert seen == []


def test_extended_connect_inside(proxied: Proxied) -> None:
    """An extended CONNECT inside the tunnel opens nothing."""

    def ask(case: tuple[str, str]) -> None:
        protocol, authority = case
        headers = [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "https"),
            (":path", "/v1/responses"),
            (":authority", authority),
        ]
        answer = _h2(proxied, headers, forget=False)
        assert answer is None or answer.status in (400, 403, 404, 405, 421)

    protocols = ("websocket", "bytestream", "connect-udp")
    proxied.provider.take()
    together(ask, itertools.product(protocols, (ANTHROPIC, OPENAI, f"{OPENAI}:443")))
    assert proxied.provider.take() == []


def test_connect_inside_over_http2(proxied: Proxied) -> None:
    """A CONNECT inside the tunnel opens no second tunnel, even with good credentials."""
    headers = [(":method", "CONNECT"), (":authority", f"{OPENAI}:443")]
    answer = _h2(proxied, [*headers, *credentials(proxied.token)])
    assert answer is None or answer.status in (400, 403, 404, 405, 421)
    assert proxied.provider.take() == []


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: ([0-9]+)", head)
    return length is not None and len(body) == int(length[1])


class _TlsOverStream:
    """TLS to a provider's host over one CONNECT of an HTTP/2 connection, which others share."""

    def __init__(self, proxied: Proxied, connection: ConnectH2, token: str) -> None:
        bare = [(":method", "CONNECT"), (":authority", PROVIDER)]
        self._connection = connection
        self._stream, status = connection.ask([*bare, *credentials(token)])
        assert status == 200
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trusting(proxied.ca_file).wrap_bio(
            self._incoming, self._outgoing, server_hostname=ANTHROPIC
        )
        self._done(self._tls.do_handshake)

    def ask(self, data: bytes) -> int:
        """Send one request, read its whole answer, and return the status."""
        self._tls.write(data)
        answer = b""
        while not _is_whole(answer):
            answer += self._done(lambda: self._tls.read(65_536))
        return int(answer.split(b" ")[1])

    def _done(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                received = self._connection.exchange(self._stream, self._outgoing.read())
                assert received, "the tunnel was closed"
                self._incoming.write(received)


def test_two_users_on_one_connection(proxied_tls: Proxied) -> None:
    """CONNECTs of two users on one HTTP/2 connection keep their users apart, and end apart."""
    alice = proxied_tls.token
    bob = proxied_tls.pair.create_token("bob")
    connection = ConnectH2(proxied_tls.port, proxied_tls.listener_ca)
    with contextlib.closing(connection):
        tunnels = {
            name: _TlsOverStream(proxied_tls, connection, token)
            for name, token in (("alice", alice), ("bob", bob))
        }
        for turn in range(2):
            for name, tunnel in tunnels.items():
                path = f"/v1/models/shared-{name}-{turn}"
                assert tunnel.ask(raw.request("GET", path, host=ANTHROPIC)) == 404
        proxied_tls.pair.delete_token(bob)
        proxied_tls.provider.take()
        asked = raw.request("GET", "/v1/models/shared-last", host=ANTHROPIC)
        assert tunnels["bob"].ask(asked) == 401
        assert proxied_tls.provider.take() == []
        asked = raw.request("GET", "/v1/models/shared-alice-2", host=ANTHROPIC)
        assert tunnels["alice"].ask(asked) == 404
    wait_until(lambda: "shared-alice-2" in proxied_tls.pair.stdout, 5, "the access log lines")
    users = {
        line["path"]: line["user"]
        for line in proxied_tls.log()
        if (line["path"] or "").startswith("/v1/models/shared-") and line["status"] != 401
    }
    assert users == {path: path.split("-")[1] for path in users}
    assert set(users.values()) == {"alice", "bob"}


def _upgrade(*headers: tuple[str, str], host: str = WEBSOCKET_HOST) -> bytes:
    upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    return raw.request("GET", "/v1/responses", [*upgrade, *headers], host=host)


@pytest.fixture
def bob(tunnelled: Tunnelled) -> str:
    """A token of bob."""
    return tunnelled.pair.create_token("bob")


def test_websocket_of_somebody_else(tunnelled: Tunnelled, bob: str) -> None:
    """A WebSocket inside belongs to the tunnel's user, whatever token its handshake carries."""
    assert tunnelled.upgrading is not None
    unknown = f"{'x' * 10}-{'y' * 22}"
    for token in (bob, unknown):
        for header in (
            (GOVERNANCE, token),
            ("authorization", f"Bearer {token}"),
            (SUBPROTOCOL, f"realtime, openai-insecure-api-key.{token}"),
        ):
            tunnelled.upgrading.heads.clear()
            with _inside(tunnelled, WEBSOCKET_HOST) as connection:
                connection.send(_upgrade(header))
                assert connection.read_status() == 101, header
            (head,) = tunnelled.upgrading.heads
            assert token.partition("-")[2].encode() not in head
            assert f"authorization: Bearer {CENTRAL_KEYS['openai']}".encode() in head
    lines = [line for line in tunnelled.log() if line["path"] == "/v1/responses"]
    assert {line["user"] for line in lines} <= {"alice"}


def test_websocket_of_a_deleted_token(tunnelled: Tunnelled, bob: str) -> None:
    """In an open tunnel a token that was deleted opens no WebSocket."""
    assert tunnelled.upgrading is not None
    tunnelled.upgrading.heads.clear()
    with Connect(tunnelled.port, f"{WEBSOCKET_HOST}:443", credentials(bob)) as connection:
        connection.start_tls(trusting(tunnelled.ca_file), WEBSOCKET_HOST)
        tunnelled.pair.delete_token(bob)
        connection.send(_upgrade())
        assert connection.read_status() == 401
    assert tunnelled.upgrading.heads == []


@pytest.mark.parametrize("host", [OPENAI, "example.com"])
def test_websocket_to_another_host(tunnelled: Tunnelled, host: str) -> None:
    """A WebSocket inside to another host than the CONNECT's is a 421."""
    assert tunnelled.upgrading is not None
    tunnelled.upgrading.heads.clear()
    with _inside(tunnelled, WEBSOCKET_HOST) as connection:
        connection.send(_upgrade(host=host))
        assert connection.read_status() in (403, 421)
    assert tunnelled.upgrading.heads == []
    assert leaks_nothing(tunnelled)


def leaks_nothing(tunnelled: Tunnelled) -> bool:
    """Return whether no part of the token has reached a provider."""
    return not any(leaks(seen, [tunnelled.token[11:]]) for seen in tunnelled.provider.take())
