"""The parts of a request that reach the provider, beside the credential."""

import re

import pytest

from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair
from tests.support.requests import MODELS, one

REMOVED = {
    "Cookie": "coder_session_token=x",
    "Coder-Session-Token": "x",
    "Coder-Foo": "x",
    "X-Coder-AI-Governance-Request-Id": "x",
    "X-Coder-Agent-Firewall-Session-Id": "x",
    "X-Coder-Foo": "x",
    "X-AI-Bridge-Actor-ID": "admin",
    "X-AI-Bridge-Actor-Metadata-Username": "admin",
    "X-AI-Bridge-Actor": "admin",
    "Forwarded": "for=10.0.0.1",
    "X-Forwarded-For": "10.0.0.1",
    "X-Forwarded-Host": "intern",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Client-Cert": "x",
    "Via": "1.1 intern",
    "X-Envoy-Upstream-Rq-Timeout-Ms": "1",
    "X-Envoy-Original-Path": "/x",
    "X-Envoy-Foo": "x",
    "X-Request-Id": "4f3a7b4e-0000-4000-8000-000000000000",
    "Proxy-Authorization": "Basic eDp5",
    "Proxy-Connection": "keep-alive",
    "Proxy-Foo": "x",
    "X-HTTP-Method-Override": "DELETE",
    "X-HTTP-Method": "DELETE",
    "X-Method-Override": "DELETE",
    "X-Original-URL": "/v1/files",
    "X-Original-URI": "/v1/files",
    "X-Original-Host": "intern",
    "X-Original-Method": "DELETE",
    "X-Original-Forwarded-For": "10.0.0.1",
    "X-Rewrite-URL": "/v1/files",
    "X-Host": "intern",
    "X-HTTP-Host-Override": "intern",
    "X-Forwarded": "for=10.0.0.1",
    "X-Real-IP": "10.0.0.1",
    "X-Client-IP": "10.0.0.1",
    "X-Cluster-Client-IP": "10.0.0.1",
    "X-Remote-IP": "10.0.0.1",
    "X-Remote-Addr": "10.0.0.1",
    "X-Originating-IP": "10.0.0.1",
    "X-ProxyUser-Ip": "10.0.0.1",
    "Client-IP": "10.0.0.1",
    "True-Client-IP": "10.0.0.1",
    "Fastly-Client-IP": "10.0.0.1",
    "CF-Connecting-IP": "10.0.0.1",
    "CF-Connecting-IPv6": "::1",
    "CF-Pseudo-IPv4": "10.0.0.1",
    "X-Azure-ClientIP": "10.0.0.1",
    "X-Azure-SocketIP": "10.0.0.1",
    "X-AppEngine-User-IP": "10.0.0.1",
}
_NOT_FOR_PROVIDERS = re.compile(
    r"cookie|forwarded|via|x-request-id|"
    r"(coder-|x-coder-|x-ai-bridge-actor|x-forwarded-|x-envoy-|proxy-).*"
)
PASSED = {
    "accept": "text/event-stream",
    "accept-encoding": "gzip, br",
    "anthropic-beta": "oauth-2025-04-20,claude-code-20250219",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-version": "2023-06-01",
    "copilot-integration-id": "vscode-chat",
    "editor-version": "vscode/1.99",
    "idempotency-key": "abc",
    "openai-beta": "responses=experimental",
    "originator": "codex_cli_rs",
    "session-id": "s1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "user-agent": "claude-cli/2.1 (external, cli)",
    "version": "0.50.0",
    "x-app": "cli",
    "x-initiator": "agent",
    "x-stainless-retry-count": "0",
}

ACCOUNTS = {
    "anthropic-workspace-id": "wrkspc_1",
    "chatgpt-account-id": "5b1d1c1e-account",
    "openai-organization": "org-1",
    "openai-project": "proj-1",
    "x-goog-user-project": "p1",
}
"""Headers that choose an account; a client may set them only with its own credential."""


@pytest.mark.parametrize("upstream", ["anthropic", "openai", "copilot"])
def test_nothing_of_coder_or_the_gateway_reaches_the_provider(
    gateway: Pair, token: str, upstream: str
) -> None:
    """Each header of the removal list is removed, in every mode."""
    headers = {**REMOVED, "X-Coder-AI-Governance-Token": token}
    if upstream == "copilot":
        headers["Authorization"] = f"Bearer {OWN_KEYS['copilot']}"
    exchanged = one(gateway, "GET", MODELS[upstream], headers)
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    names = [name for name, _ in exchanged.seen[0].headers]
    assert not {*names} & {name.lower() for name in REMOVED}
    assert not [name for name in names if _NOT_FOR_PROVIDERS.fullmatch(name)]


@pytest.mark.parametrize("upstream", ["anthropic", "openai", "copilot"])
def test_everything_else_passes_as_it_came(gateway: Pair, token: str, upstream: str) -> None:
    """Headers that the provider or its client invented arrive once, with their value."""
    headers = {**PASSED, "x-coder-ai-governance-token": token}
    if upstream == "copilot":
        headers["authorization"] = f"Bearer {OWN_KEYS['copilot']}"
    exchanged = one(gateway, "GET", MODELS[upstream], headers)
    (seen,) = exchanged.seen
    # Copilot's paths take a POST as well, and a compressed answer would hide its usage.
    passed = {n: v for n, v in PASSED.items() if (upstream, n) != ("copilot", "accept-encoding")}
    assert {name: seen.all(name) for name in passed} == {n: [v] for n, v in passed.items()}


@pytest.mark.parametrize("upstream", ["anthropic", "openai"])
def test_an_account_is_chosen_with_ones_own_credential_only(
    gateway: Pair, token: str, upstream: str
) -> None:
    """The company's account is used with the central key, whatever account a client asks for."""
    headers = {**ACCOUNTS, "x-coder-ai-governance-token": token}
    (central,) = one(gateway, "GET", MODELS[upstream], headers).seen
    assert not {name for name, _ in central.headers} & {*ACCOUNTS}
    headers["authorization"] = f"Bearer {OWN_KEYS[upstream]}"
    (own,) = one(gateway, "GET", MODELS[upstream], headers).seen
    assert {name: own.all(name) for name in ACCOUNTS} == {n: [v] for n, v in ACCOUNTS.items()}


def test_the_provider_is_addressed_by_its_own_name(gateway: Pair, token: str) -> None:
    """The Host header is the base URL's, and the body arrives unchanged."""
    body = (
        b'{"model":"claude-sonnet-4-5","max_tokens":8,"messages":[{"role":"user","content":"A"}]}'
    )
    exchanged = one(
        gateway,
        "POST",
        "/anthropic/v1/messages?beta=true",
        {"x-api-key": token, "content-type": "application/json"},
        content=body,
    )
    (seen,) = exchanged.seen
    assert seen.all("host") == [gateway.provider.server.url.removeprefix("http://")]
    assert seen.all("content-length") == [str(len(body))]
    assert (seen.method, seen.path, seen.query) == ("POST", "/v1/messages", "beta=true")


@pytest.mark.parametrize("prefix", ["", "/api/v2/ai-gateway", "/api/v2/aibridge"])
@pytest.mark.parametrize(
    ("path", "upstream_path"),
    [
        ("/anthropic/v1/models", "/v1/models"),
        ("/anthropic/v1/models/claude-opus-4-5", "/v1/models/claude-opus-4-5"),
        ("/openai/v1/models?client_version=0.50", "/v1/models"),
        ("/openai/v1/responses/resp_1", "/v1/responses/resp_1"),
        ("/chatgpt/v1/models", "/backend-api/codex/models"),
        ("/copilot/_ping", "/_ping"),
    ],
)
def test_three_prefixes_are_one(
    gateway: Pair, token: str, prefix: str, path: str, upstream_path: str
) -> None:
    """Both of Coder's prefixes and the bare provider lead to the same path of the provider."""
    name = path.split("/")[1]
    headers = {"x-coder-ai-governance-token": token}
    if name in OWN_KEYS and name not in CENTRAL_KEYS:
        headers["authorization"] = f"Bearer {OWN_KEYS[name]}"
    exchanged = one(gateway, "GET", prefix + path, headers)
    (seen,) = exchanged.seen
    assert (seen.provider, seen.path) == (name, upstream_path)
    assert seen.query == path.partition("?")[2]


def test_cookies_of_the_provider_stay_with_the_provider(gateway: Pair, token: str) -> None:
    """The client gets the provider's own request id and no trace of the gateway."""
    answer = one(gateway, "GET", MODELS["openai"], {"authorization": f"Bearer {token}"}).answer
    assert answer.headers["x-request-id"].startswith("req_")
    assert "set-cookie" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("x-envoy-")]
