"""WebSocket subprotocols that reach a provider: they carry no account and no credential."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair, Provider, pair, wait_until
from tests.support.raw import Closed, Headers
from tests.support.websocket_provider import Handshake, WebSocketProvider

GOVERNANCE = "x-coder-ai-governance-token"
SUBPROTOCOL = "sec-websocket-protocol"
UPGRADE: Headers = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
]
ACCOUNTS = [
    "realtime, openai-organization.org-of-somebody",
    "realtime, openai-project.proj_of_somebody, openai-beta.realtime-v1",
    "realtime, OpenAI-Organization.org-of-somebody",
    "openai-organization.org-of-somebody",
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[WebSocketProvider]:
    """A provider with WebSockets."""
    with WebSocketProvider() as running:
        yield running


@pytest.fixture(scope="module")
def sockets(
    provider: Provider, upstream: WebSocketProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """A pair in front of it."""
    key = tmp_path_factory.mktemp("keys") / "openai.key"
    key.write_text(CENTRAL_KEYS["openai"])
    one = {
        "name": "openai",
        "type": "openai",
        "base_url": f"http://127.0.0.1:{upstream.port}/v1",
        "key": {"file": str(key)},
    }
    envoy = {"drain_timeout": 0, "websocket_timeout": 2}
    with pair(provider, providers=[one], envoy=envoy) as running:
        running.create_user("alice")
        running.create_user("bob")
        yield running


@pytest.fixture(scope="module")
def token(sockets: Pair) -> str:
    """A token of alice."""
    return sockets.create_token("alice")


def _open(sockets: Pair, upstream: WebSocketProvider, headers: Headers) -> Handshake | int:
    """Return the handshake that reached the provider, or the status of the refusal."""
    upstream.take()
    with raw.Connection(sockets.port) as connection:
        connection.send(raw.request("GET", "/openai/v1/realtime", [*UPGRADE, *headers]))
        status = connection.read_status()
    if status != 101:
        assert upstream.take() == []
        return status
    wait_until(lambda: upstream.handshakes, 5, "the handshake at the provider")
    (handshake,) = upstream.take()
    return handshake


@pytest.mark.parametrize("offered", ACCOUNTS)
def test_no_account_with_the_central_key(
    sockets: Pair, upstream: WebSocketProvider, token: str, offered: str
) -> None:
    """A subprotocol that chooses an account of the provider is removed with the central key."""
    headers = [("authorization", f"Bearer {token}"), (SUBPROTOCOL, offered)]
    handshake = _open(sockets, upstream, headers)
    assert isinstance(handshake, Handshake), handshake
    assert handshake.all("authorization") == [f"Bearer {CENTRAL_KEYS['openai']}"]
    assert "somebody" not in " ".join(handshake.all(SUBPROTOCOL))
    kept = [name for name in offered.split(", ") if "somebody" not in name]
    assert handshake.all(SUBPROTOCOL) == ([", ".join(kept)] if kept else [])


@pytest.mark.parametrize("offered", ACCOUNTS)
def test_account_in_a_second_header(
    sockets: Pair, upstream: WebSocketProvider, token: str, offered: str
) -> None:
    """An account subprotocol in a header of its own, next to the Coder token's, is removed too."""
    headers = [
        (SUBPROTOCOL, f"openai-insecure-api-key.{token}"),
        (SUBPROTOCOL, offered),
    ]
    handshake = _open(sockets, upstream, headers)
    assert isinstance(handshake, Handshake), handshake
    text = " ".join(f"{name}: {value}" for name, value in handshake.headers)
    assert "somebody" not in text
    assert token.partition("-")[2] not in text


@pytest.mark.parametrize("offered", ACCOUNTS)
def test_account_with_ones_own_key(
    sockets: Pair, upstream: WebSocketProvider, token: str, offered: str
) -> None:
    """A user with their own key may choose the account."""
    headers = [
        (GOVERNANCE, token),
        ("authorization", f"Bearer {OWN_KEYS['openai']}"),
        (SUBPROTOCOL, offered),
    ]
    handshake = _open(sockets, upstream, headers)
    assert isinstance(handshake, Handshake), handshake
    assert handshake.all("authorization") == [f"Bearer {OWN_KEYS['openai']}"]
    assert ", ".join(handshake.all(SUBPROTOCOL)) == offered


def _places(token: str) -> dict[str, str]:
    return {
        "prefix in odd case": f"OPENAI-insecure-API-key.{token}",
        "another prefix": f"realtime, authorization.bearer.{token}",
        "escaped hyphen": f"realtime, anything.{token.replace('-', '%2D')}",
        "beside another": f"realtime,openai-insecure-api-key.{token},x.{token}",
    }


@pytest.mark.parametrize("place", list(_places("x")))
def test_token_in_a_subprotocol(
    sockets: Pair, upstream: WebSocketProvider, token: str, place: str
) -> None:
    """A Coder token in the subprotocols does not reach the provider, in any spelling."""
    headers = [("x-api-key", token), (SUBPROTOCOL, _places(token)[place])]
    handshake = _open(sockets, upstream, headers)
    if isinstance(handshake, Handshake):
        text = " ".join(f"{name}: {value}" for name, value in handshake.headers)
        assert token.partition("-")[2] not in text
        assert handshake.all("authorization") == [f"Bearer {CENTRAL_KEYS['openai']}"]
    else:
        assert handshake == 400


@pytest.mark.parametrize(
    "offered",
    [
        "openai-insecure-api-key.sk-own-1e0f3a9b7c5d",
        "x, openai-insecure-api-key .sk-own-1e0f3a9b7c5d",
        "openai-insecure-api-key..sk-own-1e0f3a9b7c5d",
        "openai-insecure-api-key",
        "openai-insecure-api-key.{token}, openai-insecure-api-key.{token}",
    ],
)
def test_key_in_a_subprotocol(
    sockets: Pair, upstream: WebSocketProvider, token: str, offered: str
) -> None:
    """A user's own key in the subprotocols is refused, in any spelling."""
    headers = [("x-api-key", token), (SUBPROTOCOL, offered.format(token=token))]
    assert _open(sockets, upstream, headers) == 400


def test_deleted_token_in_a_subprotocol(sockets: Pair, upstream: WebSocketProvider) -> None:
    """A token that has been deleted opens no further WebSocket."""
    token = sockets.create_token("bob")
    headers = [(SUBPROTOCOL, f"realtime, openai-insecure-api-key.{token}")]
    assert isinstance(_open(sockets, upstream, headers), Handshake)
    sockets.delete_token(token)
    assert _open(sockets, upstream, headers) == 401


def test_bytes_behind_a_refused_handshake(
    sockets: Pair, upstream: WebSocketProvider, token: str
) -> None:
    """Bytes behind a refused handshake are not read as a frame, and reach no provider."""
    upstream.take()
    bad = raw.request("GET", "/openai/v1/realtime", [*UPGRADE, ("x-api-key", "x")])
    good = raw.request("GET", "/openai/v1/realtime", [*UPGRADE, ("x-api-key", token)])
    with raw.Connection(sockets.port) as connection:
        connection.send(bad + b"\x81\x05hello" + good)
        assert connection.read_status() == 401
        statuses: list[int] = []
        # Envoy may wait for more, answer that it is no HTTP, or close.
        connection.wait_at_most(1.0)
        with contextlib.suppress(Closed, TimeoutError):
            while True:
                statuses.append(connection.read_status())
    assert not set(statuses) - {400, 401}
    assert upstream.take() == []
