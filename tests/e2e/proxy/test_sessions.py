"""Many requests in one tunnel: each is checked, and the access log shows the tunnel of each."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.proxy.pairs import WEBSOCKET_HOST, Proxied, Tunnelled
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, wait_until
from tests.support.raw import Headers
from tests.support.tls import Connect, connect, credentials, trusting

ANTHROPIC = "api.anthropic.com"


def _models(headers: Headers = (), host: str = ANTHROPIC) -> bytes:
    return raw.request("GET", "/v1/models", headers, host=host)


@pytest.fixture
def opened(proxied: Proxied) -> Iterator[tuple[Connect, str]]:
    """A tunnel to Anthropic with TLS inside, and the token that opened it."""
    token = proxied.pair.create_token("bob")
    with Connect(proxied.port, f"{ANTHROPIC}:443", credentials(token)) as connection:
        connection.start_tls(trusting(proxied.ca_file), ANTHROPIC)
        assert connection.ask(_models()).status == 200
        yield connection, token


def test_deleted_token(proxied: Proxied, opened: tuple[Connect, str]) -> None:
    """A token that is deleted while its tunnel is open is refused at the next request."""
    connection, token = opened
    proxied.pair.delete_token(token)
    proxied.provider.take()
    answer = connection.ask(_models())
    assert answer.status == 401
    assert answer.error["type"] == "authentication_error"
    own = connection.ask(_models([("x-api-key", "sk-ant-own-5d1e0f3a9b7c")]))
    assert own.status == 401
    assert proxied.provider.take() == []
    assert connect(proxied.port, f"{ANTHROPIC}:443", credentials(token)).status == 407


def test_suspended_user(proxied: Proxied, opened: tuple[Connect, str]) -> None:
    """A suspended user is refused inside the open tunnel, and served again once active."""
    connection, token = opened
    proxied.pair.set_status("bob", "suspended")
    try:
        assert connection.ask(_models()).status == 401
        assert connect(proxied.port, "example.com:443", credentials(token)).status == 407
    finally:
        proxied.pair.set_status("bob", "active")
    assert connection.ask(_models()).status == 200


def test_revocation_over_http2(proxied: Proxied) -> None:
    """The next stream of an open HTTP/2 connection is refused too."""
    token = proxied.pair.create_token("bob")
    context = trusting(proxied.ca_file, alpn=("h2",))
    with httpx.Client(proxy=proxied.url_for(token), verify=context, http2=True) as client:
        assert client.get(f"https://{ANTHROPIC}/v1/models").status_code == 200
        proxied.pair.delete_token(token)
        answer = client.get(f"https://{ANTHROPIC}/v1/models")
        assert answer.http_version == "HTTP/2"
        assert answer.status_code == 401
    # It was the same tunnel: another CONNECT would have been a 407. The line comes with its end.
    wait_until(lambda: _connects(proxied, token), 5, "the line of the CONNECT")
    assert [line["status"] for line in _connects(proxied, token)] == [200]


def test_two_users_at_once(proxied: Proxied) -> None:
    """Tunnels of two users to one host keep their users apart while all of them are open."""
    tokens = {name: proxied.pair.create_token(name) for name in ("alice", "bob")}
    marks = []
    with contextlib.ExitStack() as stack:
        tunnels = []
        # Envoy has a pool of connections in each of its threads, and the kernel chooses the thread.
        for name in ("alice", "bob") * 8:
            tunnel = Connect(proxied.port, f"{ANTHROPIC}:443", credentials(tokens[name]))
            tunnels.append((name, stack.enter_context(tunnel)))
        for _, tunnel in tunnels:
            tunnel.start_tls(trusting(proxied.ca_file), ANTHROPIC)
        for number, (name, tunnel) in enumerate(tunnels):
            marks.append(f"/v1/models/of-{name}-{number}")
            tunnel.ask(raw.request("GET", marks[-1], host=ANTHROPIC))
        # And the token that is checked inside is the tunnel's own, too.
        proxied.pair.delete_token(tokens["bob"])
        for name, tunnel in tunnels:
            status = tunnel.ask(_models()).status
            assert status == (200 if name == "alice" else 401), name
    # Each thread of Envoy's writes its own lines.
    wait_until(lambda: all(mark in proxied.pair.stdout for mark in marks), 5, "a line for each")
    users = {line["path"]: line["user"] for line in proxied.log()}
    assert [users[mark] for mark in marks] == ["alice", "bob"] * 8


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_log_lines_are_joined(proxied: Proxied, http2: bool) -> None:
    """A CONNECT and each request inside are one line each, all with the CONNECT's id and user."""
    path = f"/v1/models/joined-{http2}"
    alpn = ("h2",) if http2 else ("http/1.1",)
    with httpx.Client(
        proxy=proxied.url, verify=trusting(proxied.ca_file, alpn=alpn), http2=http2
    ) as client:
        for number in range(3):
            client.get(f"https://{ANTHROPIC}{path}-{number}", headers={"x-request-id": "forged"})

    def lines() -> list[dict[str, Any]]:
        return [line for line in proxied.log() if (line["path"] or "").startswith(path)]

    wait_until(lambda: len(lines()) == 3, 5, "the access log lines")
    inner = lines()
    session = inner[0]["proxy_session"]
    assert session
    assert [line["proxy_session"] for line in inner] == [session] * 3
    assert len({line["request_id"] for line in inner} | {session}) == 4
    wait_until(lambda: _connect_of(proxied, session) != [], 5, "the line of the CONNECT")
    (outer,) = _connect_of(proxied, session)
    assert outer["path"] == f"{ANTHROPIC}:443"
    assert outer["status"] == 200
    for line in (outer, *inner):
        assert line["user"] == "alice"
        assert line["token_id"] == proxied.token.partition("-")[0]
        assert line["request_id"] != "forged"


def _connect_of(proxied: Proxied, session: str) -> list[dict[str, Any]]:
    return [
        line
        for line in proxied.log()
        if line["method"] == "CONNECT" and line["proxy_session"] == session
    ]


def _connects(proxied: Proxied, token: str) -> list[dict[str, Any]]:
    token_id = token.partition("-")[0]
    lines = [line for line in proxied.log() if line["token_id"] == token_id]
    return [line for line in lines if line["method"] == "CONNECT"]


def test_base_url_requests_have_no_session(proxied: Proxied) -> None:
    """A request to the gateway listener has no proxy session."""
    path = "/anthropic/v1/models/no-session"
    httpx.get(f"{proxied.pair.url}{path}", headers={"x-api-key": proxied.token})
    wait_until(lambda: path in proxied.pair.stdout, 5, "the access log line")
    assert [line["proxy_session"] for line in proxied.log() if line["path"] == path] == [None]


def test_refused_connect_is_logged(proxied: Proxied) -> None:
    """A refused CONNECT is a line with its target and the reason, but no user."""
    assert connect(proxied.port, "refused-connect.test:443").status == 407
    wait_until(lambda: "refused-connect.test" in proxied.pair.stdout, 5, "the access log line")
    (line,) = [line for line in proxied.log() if line["path"] == "refused-connect.test:443"]
    assert line["reason"] == "token_missing"
    assert line["status"] == 407
    assert line["user"] is None


def test_websocket(tunnelled: Tunnelled) -> None:
    """A WebSocket is opened inside with the central key, and frames pass both ways."""
    assert tunnelled.upgrading is not None
    upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("x-coder-ai-governance-token", "forged"),
    ]
    with Connect(
        tunnelled.port, f"{WEBSOCKET_HOST}:443", credentials(tunnelled.token)
    ) as connection:
        connection.start_tls(trusting(tunnelled.ca_file), WEBSOCKET_HOST)
        connection.send(raw.request("GET", "/v1/responses", upgrade, host=WEBSOCKET_HOST))
        assert connection.read_status() == 101
        for frame in (b"\x81\x05hello", b"\x82\x03\x00\x01\x02"):
            connection.send(frame)
            assert connection.receive() == frame
    (head,) = tunnelled.upgrading.heads
    named = [line.partition(b": ")[::2] for line in head.split(b"\r\n")[1:]]
    assert (b"authorization", f"Bearer {CENTRAL_KEYS['openai']}".encode()) in named
    assert tunnelled.token.encode() not in head
    assert b"governance" not in head


def test_body_of_a_megabyte(proxied: Proxied) -> None:
    """A large request body passes through the tunnel unchanged."""
    body = {
        "model": "claude-test",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "x" * (1 << 20)}],
    }
    with httpx.Client(proxy=proxied.url, verify=trusting(proxied.ca_file), timeout=20) as client:
        answer = client.post(f"https://{ANTHROPIC}/v1/messages", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
