"""WebSockets through a real pair: authorized at the handshake, and cut at a maximum age."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import ClientConnection, connect

from tests.support import raw
from tests.support.pair import BUSY, CENTRAL_KEYS, OWN_KEYS, Pair, Provider, pair, wait_until
from tests.support.requests import CREDENTIAL_HEADERS
from tests.support.websocket_provider import Handshake, WebSocketProvider

GOVERNANCE = "x-coder-ai-governance-token"
TIMEOUT = 2
"""Seconds that a WebSocket may live in these tests."""
CLOSED_WITHIN = 2
"""Seconds; Envoy stops passing data at once, but closes the client's TCP a second later."""
BOTH = ["/openai/v1/responses", "/openai/v1/realtime"]
PREFIXES = ["", "/api/v2/ai-gateway", "/api/v2/aibridge"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[WebSocketProvider]:
    """A stand-in with WebSockets."""
    with WebSocketProvider() as running:
        yield running


def _providers(upstream: WebSocketProvider, folder: Any) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{upstream.port}"
    keys = {}
    for name, key in CENTRAL_KEYS.items():
        keys[name] = {"file": str(folder / f"{name}.key")}
        (folder / f"{name}.key").write_text(key)
    openai = {"type": "openai", "base_url": f"{url}/v1", "key": keys["openai"]}
    return [
        {"name": "openai", **openai},
        {"name": "quiet", **openai, "websocket": False},
        {"name": "keyless", "type": "openai", "base_url": f"{url}/v1"},
        {"name": "anthropic", "type": "anthropic", "base_url": url, "key": keys["anthropic"]},
    ]


@pytest.fixture(scope="module")
def sockets(
    provider: Provider, upstream: WebSocketProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """A pair in front of it, whose WebSockets live for two seconds."""
    providers = _providers(upstream, tmp_path_factory.mktemp("keys"))
    envoy = {"drain_timeout": 0, "websocket_timeout": TIMEOUT}
    with pair(provider, providers=providers, envoy=envoy) as running:
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def sockets_without_byok(
    provider: Provider, upstream: WebSocketProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """The same pair with BYOK off."""
    providers = _providers(upstream, tmp_path_factory.mktemp("keys-without-byok"))
    envoy = {"drain_timeout": 0}
    with pair(provider, providers=providers, envoy=envoy, allow_byok=False) as running:
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def token(sockets: Pair) -> str:
    """A token of alice."""
    return sockets.create_token("alice")


def _open(running: Pair, path: str, headers: Mapping[str, str], **options: Any) -> ClientConnection:
    """Open a WebSocket; InvalidStatus when it is refused."""
    connection: ClientConnection = connect(
        f"ws://127.0.0.1:{running.port}{path}",
        additional_headers=headers,
        proxy=None,
        ping_interval=None,
        open_timeout=60,
        close_timeout=0.1,  # Envoy closes TCP a second later
        **options,
    )
    return connection


def _echoes(connection: ClientConnection, text: str = '{"type":"response.create"}') -> bool:
    connection.send(text)
    return connection.recv(timeout=60) == text


def _refused(
    running: Pair, path: str, headers: Mapping[str, str], **options: Any
) -> tuple[Response, dict[str, Any]]:
    """Return the response and its error; AssertionError if the WebSocket is opened."""
    with pytest.raises(InvalidStatus) as caught:
        _open(running, path, headers, **options).close()
    response = caught.value.response
    assert response.headers["content-type"] == "application/json"
    assert response.body is not None
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert error["message"]
    return response, error


def _credentials(handshake: Handshake) -> list[tuple[str, str]]:
    return [pair for pair in handshake.headers if pair[0] in CREDENTIAL_HEADERS]


def _coders_own(handshake: Handshake, token: str) -> list[str]:
    """Return the names of Coder's and the gateway's headers that reached the provider."""
    prefixes = ("coder-", "x-coder-", "x-ai-bridge-", "x-forwarded-", "x-envoy-", "proxy-")
    names = ("cookie", "forwarded", "via", "x-request-id")
    found = [
        name
        for name, value in handshake.headers
        if name.startswith(prefixes) or name in names or token in value
    ]
    return [*found, "path"] if token in handshake.path else found


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", BOTH)
def test_centralized(
    sockets: Pair, upstream: WebSocketProvider, token: str, prefix: str, path: str
) -> None:
    """A Coder token opens the socket with the central key, and nothing of Coder's is passed on."""
    upstream.take()
    headers = {
        "authorization": f"Bearer {token}",
        "cookie": "coder_session_token=secret",
        "coder-session-token": token,
        "x-forwarded-for": "10.0.0.1",
        "openai-beta": "responses_websockets=2026-02-06",
    }
    with _open(sockets, f"{prefix}{path}?model=gpt-5", headers) as connection:
        assert _echoes(connection)
    (handshake,) = upstream.take()
    assert handshake.path == f"{path.removeprefix('/openai')}?model=gpt-5"
    assert _credentials(handshake) == [("authorization", f"Bearer {CENTRAL_KEYS['openai']}")]
    assert handshake.all("openai-beta") == ["responses_websockets=2026-02-06"]
    assert handshake.all("host") == [f"127.0.0.1:{upstream.port}"]
    assert _coders_own(handshake, token) == []


@pytest.mark.parametrize("path", [*BOTH, "/keyless/v1/responses"])
def test_own_key(sockets: Pair, upstream: WebSocketProvider, token: str, path: str) -> None:
    """With a governance token, the user's own Bearer reaches the provider."""
    upstream.take()
    own = ("authorization", f"Bearer {OWN_KEYS['openai']}")
    with _open(sockets, path, {GOVERNANCE: token, **dict([own])}) as connection:
        assert _echoes(connection)
    (handshake,) = upstream.take()
    assert _credentials(handshake) == [own]
    assert _coders_own(handshake, token) == []


def test_governance_token_alone(sockets: Pair, upstream: WebSocketProvider, token: str) -> None:
    """A governance token without an own credential is served with the central key."""
    upstream.take()
    with _open(sockets, BOTH[0], {GOVERNANCE: token}) as connection:
        assert _echoes(connection)
    (handshake,) = upstream.take()
    assert _credentials(handshake) == [("authorization", f"Bearer {CENTRAL_KEYS['openai']}")]


@pytest.mark.parametrize("path", [*BOTH, "/keyless/v1/responses", "/quiet/v1/responses"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer 0123456789-0123456789abcdefghijkl"},
        {"authorization": "Bearer no token"},
        {"authorization": f"Bearer {OWN_KEYS['openai']}"},
        {GOVERNANCE: "nonsense", "authorization": f"Bearer {OWN_KEYS['openai']}"},
    ],
    ids=["none", "unknown", "malformed", "own key alone", "own key with a bad token"],
)
def test_without_a_good_token(
    sockets: Pair, upstream: WebSocketProvider, path: str, headers: dict[str, str]
) -> None:
    """A client without a good token gets a 401 with a body, and the provider is not asked."""
    upstream.take()
    response, error = _refused(sockets, path, headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert error["type"] == "authentication_error"
    assert upstream.take() == []


def test_byok_off(sockets_without_byok: Pair, upstream: WebSocketProvider) -> None:
    """With BYOK off an own Bearer is 403 at the handshake, and the central key still serves."""
    upstream.take()
    token = sockets_without_byok.create_token("alice")
    own = {GOVERNANCE: token, "authorization": f"Bearer {OWN_KEYS['openai']}"}
    response, error = _refused(sockets_without_byok, BOTH[0], own)
    assert response.status_code == 403
    assert error["type"] == "permission_error"
    assert upstream.take() == []
    headers = {"authorization": f"Bearer {token}"}
    with _open(sockets_without_byok, BOTH[0], headers) as connection:
        assert _echoes(connection)


def test_no_central_key(sockets: Pair, upstream: WebSocketProvider, token: str) -> None:
    """A provider without a central key demands the user's own credential at the handshake."""
    upstream.take()
    response, error = _refused(
        sockets, "/keyless/v1/responses", {"authorization": f"Bearer {token}"}
    )
    assert response.status_code == 401
    assert "authorization" in error["message"].lower()
    assert upstream.take() == []


def test_deleted_token(sockets_without_byok: Pair) -> None:
    """A deleted token opens no new socket, and an open one lives on."""
    running = sockets_without_byok  # where a slow test meets no cap
    token = running.create_token("alice")
    headers = {"authorization": f"Bearer {token}"}
    with _open(running, BOTH[0], headers) as connection:
        assert _echoes(connection)
        running.delete_token(token)
        response, _ = _refused(running, BOTH[0], headers)
        assert response.status_code == 401
        assert _echoes(connection), "the open socket lives on"


def test_busy_socket_of_a_deleted_token_is_cut(sockets: Pair, upstream: WebSocketProvider) -> None:
    """The socket of a deleted token lives until its cap, even if it is busy."""
    token = sockets.create_token("alice")
    closed = _all_closed(upstream)
    began = time.monotonic()
    with _open(sockets, BOTH[0], {"authorization": f"Bearer {token}"}) as connection:
        assert _echoes(connection)
        sockets.delete_token(token)
        with contextlib.suppress(ConnectionClosed):
            while time.monotonic() < began + BUSY * TIMEOUT:
                assert _echoes(connection)
                time.sleep(0.05)
    assert TIMEOUT - 0.2 < time.monotonic() - began < BUSY * TIMEOUT
    wait_until(lambda: upstream.closed > closed, 3, "the provider's side being closed")


def _all_closed(upstream: WebSocketProvider) -> int:
    """Wait until the sockets of earlier tests are closed on the provider's side; count them."""
    wait_until(lambda: upstream.closed == upstream.opened, 10, "no open socket")
    return upstream.closed


def test_silent_socket_is_cut(sockets: Pair, upstream: WebSocketProvider, token: str) -> None:
    """A silent socket is cut at the cap too, on both sides."""
    closed = _all_closed(upstream)
    began = time.monotonic()
    with _open(sockets, BOTH[1], {"authorization": f"Bearer {token}"}) as connection:
        wait_until(lambda: upstream.closed > closed, TIMEOUT + 3, "the provider's side")
        assert TIMEOUT - 0.2 < time.monotonic() - began < BUSY * TIMEOUT
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=BUSY * CLOSED_WITHIN)


@pytest.mark.parametrize(
    "path",
    [
        "/anthropic/v1/messages",
        "/quiet/v1/responses",
        "/quiet/v1/realtime",
        "/openai/v1/chat/completions",
        "/api/v2/aibridge/quiet/v1/responses",
    ],
)
def test_no_websockets(sockets: Pair, upstream: WebSocketProvider, token: str, path: str) -> None:
    """A path or provider without WebSockets is a 426 at once, and the provider is not asked."""
    upstream.take()
    began = time.monotonic()
    response, _ = _refused(sockets, path, {"authorization": f"Bearer {token}"})
    assert response.status_code == 426
    assert time.monotonic() - began < 30
    assert upstream.take() == []


@pytest.fixture
def refusing(upstream: WebSocketProvider) -> Iterator[WebSocketProvider]:
    """The stand-in, which a test may tell to refuse handshakes."""
    upstream.take()
    yield upstream
    upstream.refuse = None


@pytest.mark.parametrize("status", [404, 405, 501])
def test_provider_without_websockets(
    sockets: Pair, refusing: WebSocketProvider, token: str, status: int
) -> None:
    """A provider's answer that it has no WebSockets becomes a 426, so Codex uses HTTP at once."""
    refusing.refuse = status
    response, _ = _refused(sockets, BOTH[0], {"authorization": f"Bearer {token}"})
    assert response.status_code == 426
    assert "retry-after" not in response.headers
    (handshake,) = refusing.take()
    assert _credentials(handshake) == [("authorization", f"Bearer {CENTRAL_KEYS['openai']}")]


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_provider_refuses(
    sockets: Pair, refusing: WebSocketProvider, token: str, status: int
) -> None:
    """Any other refusal by the provider is passed on unchanged."""
    refusing.refuse = status
    with pytest.raises(InvalidStatus) as caught:
        _open(sockets, BOTH[0], {"authorization": f"Bearer {token}"}).close()
    response = caught.value.response
    assert response.status_code == status
    assert response.headers["retry-after"] == "7"
    assert response.body == b"the provider's own text\n"
    assert len(refusing.take()) == 1


@pytest.mark.parametrize(
    "path", ["/openai/v1/nothing", "/nobody/v1/responses", "/openai/v1/responses/x/../../files"]
)
def test_unknown_path(sockets: Pair, upstream: WebSocketProvider, token: str, path: str) -> None:
    """A WebSocket to a path or provider that is not served is 404."""
    upstream.take()
    response, error = _refused(sockets, path, {"authorization": f"Bearer {token}"})
    assert response.status_code == 404
    assert error["type"] == "not_found_error"
    assert upstream.take() == []


@pytest.mark.parametrize("upgrade", ["h2c", "foo", "h2c, foo"])
def test_other_upgrades(
    sockets: Pair, upstream: WebSocketProvider, token: str, upgrade: str
) -> None:
    """An upgrade to any protocol but a WebSocket is not accepted."""
    upstream.take()
    answer = raw.ask(
        sockets.port,
        raw.request(
            "GET",
            BOTH[0],
            [
                ("authorization", f"Bearer {token}"),
                ("connection", "upgrade"),
                ("upgrade", upgrade),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        ),
    )
    assert answer.status in (403, 404, 426)
    assert upstream.take() == []


@pytest.mark.parametrize("upgrade", ["websocket, h2c", "TLS/1.2,WebSocket"])
def test_websocket_among_other_upgrades(
    sockets: Pair, upstream: WebSocketProvider, token: str, upgrade: str
) -> None:
    """The WebSocket is chosen among several offers, and the provider sees no other offer."""
    upstream.take()
    headers = [
        ("authorization", f"Bearer {token}"),
        ("connection", "upgrade"),
        ("upgrade", upgrade),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    with raw.Connection(sockets.port) as connection:
        connection.send(raw.request("GET", BOTH[0], headers))
        assert connection.read().status == 101
    (handshake,) = upstream.take()
    assert [value.lower() for value in handshake.all("upgrade")] == ["websocket"]


def test_no_websocket_on_health_checks(sockets: Pair) -> None:
    """A path that needs no token can't switch protocols."""
    response, _ = _refused(sockets, "/healthz", {})
    assert response.status_code == 403


@pytest.mark.parametrize(
    "offered",
    [
        ["realtime", "openai-insecure-api-key.{token}", "openai-beta.realtime-v1"],
        ["OpenAI-Insecure-Api-Key.{token}", "realtime"],
    ],
)
@pytest.mark.parametrize("path", BOTH)
def test_token_in_the_subprotocol(
    sockets: Pair, upstream: WebSocketProvider, token: str, path: str, offered: list[str]
) -> None:
    """A Coder token in a subprotocol, as browsers send it, serves; others reach the provider."""
    upstream.take()
    names = [name.format(token=token) for name in offered]
    with _open(sockets, path, {}, subprotocols=names) as connection:
        assert connection.subprotocol == "realtime"
        assert _echoes(connection)
    (handshake,) = upstream.take()
    assert _credentials(handshake) == [("authorization", f"Bearer {CENTRAL_KEYS['openai']}")]
    others = ", ".join(name for name in names if token not in name)
    assert handshake.all("sec-websocket-protocol") == [others]
    assert token not in repr(handshake.headers)


def test_token_as_the_only_subprotocol(
    sockets: Pair, upstream: WebSocketProvider, token: str
) -> None:
    """A token as the only subprotocol is removed, and a deleted one opens nothing."""
    upstream.take()
    names = [f"openai-insecure-api-key.{token}"]
    with _open(sockets, BOTH[1], {}, subprotocols=names) as connection:
        assert connection.subprotocol is None
    (handshake,) = upstream.take()
    assert handshake.all("sec-websocket-protocol") == []
    deleted = sockets.create_token("alice")
    sockets.delete_token(deleted)
    names = [f"openai-insecure-api-key.{deleted}", "realtime"]
    response, _ = _refused(sockets, BOTH[1], {}, subprotocols=names)
    assert response.status_code == 401
    assert upstream.take() == []


def test_key_in_the_subprotocol(sockets: Pair, upstream: WebSocketProvider, token: str) -> None:
    """A provider's key in the subprotocol, which would bypass every rule, is refused."""
    upstream.take()
    headers = {"authorization": f"Bearer {token}"}
    offered = ["realtime", f"openai-insecure-api-key.{OWN_KEYS['openai']}"]
    response, error = _refused(sockets, BOTH[1], headers, subprotocols=offered)
    assert response.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert upstream.take() == []
    with _open(sockets, BOTH[1], headers, subprotocols=["realtime"]) as connection:
        assert connection.subprotocol == "realtime"
    (handshake,) = upstream.take()
    assert handshake.all("sec-websocket-protocol") == ["realtime"]


def test_large_messages(sockets_without_byok: Pair) -> None:
    """Messages larger than Envoy's buffers pass unchanged in both directions."""
    text = "0123456789abcdef" * 50_000
    headers = {"authorization": f"Bearer {sockets_without_byok.create_token('alice')}"}
    # There is no cap here, which a slow machine would reach.
    with _open(sockets_without_byok, BOTH[0], headers, compression=None) as connection:
        assert _echoes(connection, text)
