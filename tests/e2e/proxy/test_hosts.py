"""The host of a provider without a central key, through the proxy: as Codex with a log-in asks."""

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.proxy.pairs import Proxied
from tests.support import raw
from tests.support.pair import OWN_KEYS, Pair
from tests.support.requests import CREDENTIAL_HEADERS, leaks
from tests.support.tls import Connect, credentials, trusting

HOST = "chatgpt.com"
ACCOUNT = f"https://{HOST}/backend-api/wham/accounts/check"
OWN = {"authorization": f"Bearer {OWN_KEYS['chatgpt']}"}


@pytest.fixture
def client(proxied: Proxied) -> Iterator[httpx.Client]:
    """A client of the proxy."""
    proxied.provider.take()
    with httpx.Client(proxy=proxied.url, verify=trusting(proxied.ca_file), timeout=20) as asking:
        yield asking


def test_own_login(proxied: Proxied, client: httpx.Client) -> None:
    """A path that no type lists passes with the user's own credential and nothing of Coder's."""
    answer = client.get(ACCOUNT, headers={**OWN, "chatgpt-account-id": "account-1"})
    assert answer.json()["default_account_id"] == "account-1"
    (seen,) = proxied.provider.take()
    held = [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS]
    assert held == [("authorization", OWN["authorization"])]
    assert leaks(seen, [proxied.token.partition("-")[2]]) == []


@pytest.mark.parametrize("with_token", [False, True], ids=["no credential", "Coder token"])
def test_no_login(proxied: Proxied, client: httpx.Client, with_token: bool) -> None:
    """Without the user's own credential nothing reaches the host, a Coder token least of all."""
    headers = {"authorization": f"Bearer {proxied.token}"} if with_token else {}
    answer = client.get(ACCOUNT, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "provider_credential_required"
    assert proxied.provider.take() == []


def test_deleted_token(proxied: Proxied) -> None:
    """A token that is deleted while the tunnel is open ends what passes through it."""
    pair: Pair = proxied.pair
    token = pair.create_token("alice")
    context = trusting(proxied.ca_file)
    proxied.provider.take()
    ask = raw.request("GET", ACCOUNT.removeprefix(f"https://{HOST}"), list(OWN.items()), host=HOST)
    with Connect(proxied.port, f"{HOST}:443", credentials(token)) as tunnel:
        tunnel.start_tls(context, HOST)
        assert tunnel.ask(ask).status == 200
        pair.delete_token(token)
        assert tunnel.ask(ask).status == 401
    assert len(proxied.provider.take()) == 1


@pytest.mark.parametrize(
    "path", ["/backend-api/%252e%252e/copilot/models", "/backend-api/x..y", "/a%2f..%2fb"]
)
def test_climbing(proxied: Proxied, path: str) -> None:
    """What a second normalization would change is not served there, neither."""
    ask = raw.request("GET", path, list(OWN.items()), host=HOST)
    proxied.provider.take()
    with Connect(proxied.port, f"{HOST}:443", credentials(proxied.token)) as tunnel:
        tunnel.start_tls(trusting(proxied.ca_file), HOST)
        assert tunnel.ask(ask).status in (400, 404)
    assert proxied.provider.take() == []


def test_other_websockets(proxied: Proxied) -> None:
    """A WebSocket on a path that the type does not list is a 426, and the host is not asked."""
    proxied.provider.take()
    with pytest.raises(InvalidStatus) as caught:
        connect(
            f"wss://{HOST}/backend-api/anything",
            additional_headers=OWN,
            proxy=proxied.url,
            ssl=trusting(proxied.ca_file),
        ).close()
    assert caught.value.response.status_code == 426
    assert proxied.provider.take() == []
