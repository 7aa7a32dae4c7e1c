"""Whole hosts of providers through the proxy, as used by Codex and a logged-in Claude Code."""

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.proxy.pairs import Proxied
from tests.support import raw
from tests.support.pair import OWN_KEYS, SUBSCRIPTION, Pair, wait_until
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
    """An unlisted path passes with the user's own credential, and nothing of Coder's."""
    answer = client.get(ACCOUNT, headers={**OWN, "chatgpt-account-id": "account-1"})
    assert answer.json()["default_account_id"] == "account-1"
    (seen,) = proxied.provider.take()
    held = [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS]
    assert held == [("authorization", OWN["authorization"])]
    assert leaks(seen, [proxied.token.partition("-")[2]]) == []


@pytest.mark.parametrize("with_token", [False, True], ids=["no credential", "Coder token"])
def test_no_login(proxied: Proxied, client: httpx.Client, with_token: bool) -> None:
    """Without the user's own credential nothing reaches the host, and no Coder token does."""
    headers = {"authorization": f"Bearer {proxied.token}"} if with_token else {}
    answer = client.get(ACCOUNT, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "credential_required"
    assert proxied.provider.take() == []


def test_deleted_token(proxied: Proxied) -> None:
    """A token that is deleted while its tunnel is open is refused at the next request."""
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
    """A path that a second normalization would change is not served on whole hosts either."""
    ask = raw.request("GET", path, list(OWN.items()), host=HOST)
    proxied.provider.take()
    with Connect(proxied.port, f"{HOST}:443", credentials(proxied.token)) as tunnel:
        tunnel.start_tls(trusting(proxied.ca_file), HOST)
        assert tunnel.ask(ask).status in (400, 404)
    assert proxied.provider.take() == []


def test_other_websockets(proxied: Proxied) -> None:
    """A WebSocket on an unlisted path is a 426, and the host is not asked."""
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


CLAUDE = "https://api.anthropic.com"
LOGIN = {"authorization": f"Bearer {SUBSCRIPTION}"}
CLAUDE_CODE_ASKS = [
    ("GET", "/api/oauth/profile"),
    ("GET", "/api/oauth/usage"),
    ("GET", "/v1/mcp_servers?limit=1000"),
    ("GET", "/api/claude_cli/bootstrap"),
    ("POST", "/api/eval/sdk-x1"),
    ("GET", "/api/claude_code/settings"),
    ("POST", "/v1/messages/batches"),
    ("DELETE", "/v1/files/file_1"),
    ("GET", "/v1/organizations/users"),
]


@pytest.mark.parametrize(("method", "path"), CLAUDE_CODE_ASKS)
def test_own_login_beside_a_central_key(
    proxied: Proxied, client: httpx.Client, method: str, path: str
) -> None:
    """A user's log-in reaches every path of a host that has a central key, and unchanged."""
    client.request(method, f"{CLAUDE}{path}", headers=LOGIN)
    (seen,) = proxied.provider.take()
    assert (seen.method, seen.path) == (method, path.partition("?")[0])
    held = [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS]
    assert held == [("authorization", LOGIN["authorization"])]
    assert leaks(seen, [proxied.token.partition("-")[2]]) == []


@pytest.mark.parametrize("place", ["none", "x-api-key", "authorization"])
@pytest.mark.parametrize(("method", "path"), CLAUDE_CODE_ASKS)
def test_no_login_beside_a_central_key(
    proxied: Proxied, client: httpx.Client, method: str, path: str, place: str
) -> None:
    """With only a Coder token the same paths are a 404 with the reason, without a central key."""
    value = f"Bearer {proxied.token}" if place == "authorization" else proxied.token
    headers = {} if place == "none" else {place: value}
    answer = client.request(method, f"{CLAUDE}{path}", headers=headers)
    assert answer.status_code == 404
    assert "with your own credential only" in answer.json()["error"]["message"]
    assert proxied.provider.take() == []


@pytest.mark.parametrize(
    "url", [f"{CLAUDE}/api/hello", "https://api.individual.githubcopilot.com/_ping"]
)
def test_what_needs_no_credential(proxied: Proxied, client: httpx.Client, url: str) -> None:
    """Requests that clients send before a log-in pass with a good token, without a credential."""
    assert client.get(url).status_code == 200
    (seen,) = proxied.provider.take()
    assert [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS] == []
    assert leaks(seen, [proxied.token.partition("-")[2]]) == []


def test_usage_through_the_proxy(proxied: Proxied, client: httpx.Client) -> None:
    """A client that accepts compression is metered through the proxy too."""
    call = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"accept-encoding": "gzip, br", "x-marker": "metered"}
    answer = client.post(f"{CLAUDE}/v1/messages", headers=headers, json=call)
    assert "content-encoding" not in answer.headers
    (seen,) = proxied.provider.take()
    assert seen.all("accept-encoding") == []
    wait_until(lambda: '"model":"m"' in proxied.pair.stdout.replace(" ", ""), 10, "the line")
    line = next(line for line in proxied.log() if line["model"] == "m")
    assert line["usage"] == 1


@pytest.mark.parametrize("name", ["mistralai%2Fmistral-7b", "a%2fb"])
def test_a_slash_in_the_name_of_a_model(proxied: Proxied, client: httpx.Client, name: str) -> None:
    """An escaped slash in a model name reaches the provider unchanged."""
    client.get(f"https://api.openai.com/v1/models/{name}")
    (seen,) = proxied.provider.take()
    assert seen.path == f"/v1/models/{name}"
