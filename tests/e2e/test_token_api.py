"""The token API through the gateway listener of a real pair."""

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.support.pair import Pair, Provider, pair, wait_until

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def api_pair(provider: Provider) -> Iterator[Pair]:
    """A pair with an owner, alice who has a password, and bob."""
    with pair(provider) as running:
        running.command("users", "create", "root", "--admin")
        running.create_user("alice")
        running.create_user("bob")
        subprocess.run(
            [sys.executable, "-m", "authz", "users", "password", "alice"],
            cwd=running.folder,
            input=f"{PASSWORD}\n".encode(),
            check=True,
            capture_output=True,
        )
        yield running


def _log_in(api_pair: Pair, **headers: str) -> httpx.Response:
    body = {"email": "alice", "password": PASSWORD}
    return httpx.post(f"{api_pair.url}/api/v2/users/login", json=body, headers=headers)


def _ask(api_pair: Pair, token: str, path: str = "/anthropic/v1/messages") -> httpx.Response:
    return httpx.post(
        f"{api_pair.url}{path}",
        headers={"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"},
        json={
            "model": "claude-sonnet-4-5",
            "max_tokens": 16,
            "messages": [{"role": "user", "content": "Hello"}],
        },
    )


def _session(api_pair: Pair) -> dict[str, str]:
    return {"coder-session-token": _log_in(api_pair).json()["session_token"]}


def test_from_a_password_to_an_answer_and_back(api_pair: Pair) -> None:
    """A user signs in, creates a token, uses it and deletes it, and its next request is a 401."""
    headers = _session(api_pair)
    keys = f"{api_pair.url}/api/v2/users/me/keys"
    made = httpx.post(f"{keys}/tokens", headers=headers, json={"token_name": "laptop"})
    assert made.status_code == 201, made.text
    token = made.json()["key"]
    assert _ask(api_pair, token).status_code == 200
    assert httpx.delete(f"{keys}/{token[:10]}", headers=headers).status_code == 204
    assert _ask(api_pair, token).status_code == 401
    assert api_pair.provider.take()


def test_the_cookie_works_for_the_api_alone(api_pair: Pair) -> None:
    """Envoy passes the API's cookie both ways, and it is not a token on a provider's route."""
    signed_in = _log_in(api_pair)
    cookie = signed_in.headers["set-cookie"]
    assert cookie.endswith("; HttpOnly; Path=/; SameSite=lax")
    headers = {"cookie": cookie.partition(";")[0]}
    me = httpx.get(f"{api_pair.url}/api/v2/users/me", headers=headers)
    assert (me.status_code, me.json()["username"]) == (200, "alice")
    assert me.headers["cache-control"] == "no-store"
    for path in ("/anthropic/v1/models", "/api/v2/ai-gateway/openai/v1/models", "/"):
        assert httpx.get(f"{api_pair.url}{path}", headers=headers).status_code == 401


def test_rules_reach_the_decision(api_pair: Pair) -> None:
    """A token created with rules gets a 403 in the provider's shape, which gives the reason."""
    rules = {"providers": ["openai"], "modes": ["central"]}
    made = httpx.post(
        f"{api_pair.url}/api/v2/users/me/keys/tokens",
        headers=_session(api_pair),
        json={"rules": rules},
    )
    token = made.json()["key"]
    refused = _ask(api_pair, token)
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "permission_error"
    assert "limited to openai; centralized" in refused.json()["error"]["message"]
    models = httpx.get(
        f"{api_pair.url}/openai/v1/models", headers={"authorization": f"Bearer {token}"}
    )
    assert models.status_code == 200
    own = {"authorization": "Bearer sk-own", "x-coder-ai-governance-token": token}
    models = httpx.get(f"{api_pair.url}/openai/v1/models", headers=own)
    assert models.status_code == 403
    assert "byok" in models.json()["error"]["message"]
    api_pair.provider.take()


def test_nobody_says_where_they_come_from(api_pair: Pair) -> None:
    """The audit log has the connection's address, whatever the client claims."""
    forged = {
        "x-authz-peer": "192.0.2.66",
        "x-forwarded-for": "192.0.2.67",
        "forwarded": "for=192.0.2.68",
        "x-envoy-external-address": "192.0.2.69",
    }
    assert _log_in(api_pair, **forged).status_code == 201
    log = api_pair.command("audit", "--user", "alice", "-o", "json").stdout
    assert '"action": "login"' in log
    assert '"ip": "127.0.0.1"' in log
    assert "192.0.2." not in log


def test_an_unknown_route_is_coders_404(api_pair: Pair) -> None:
    """An unknown path of the API is Coder's 404 through Envoy, and does not reach the metrics."""
    token = api_pair.create_token("alice")
    for headers in ({"coder-session-token": token}, {"authorization": f"Bearer {token}"}, {}):
        for path in (
            "/api/v2/templates",
            "/api/v2/users/",
            "/api/v2/metrics",
            "/api/v2/ai-gateway/sessions",
            "/api/v2/users/me/keys/a/b/c",
        ):
            for method in ("GET", "POST", "PATCH"):
                answer = httpx.request(method, f"{api_pair.url}{path}", headers=headers)
                assert (answer.status_code, answer.json()) == (404, {"message": "Route not found."})
                assert answer.headers["x-coder-build-version"].startswith("v2.")
    for path in ("/api/v2/users/me/../../../metrics", "/api/v2/%2e%2e/%2e%2e/metrics", "/api/v2"):
        assert httpx.get(f"{api_pair.url}{path}").status_code == 401, path


def test_below_the_gateways_path_is_no_api(api_pair: Pair) -> None:
    """An unknown provider below the gateway's path is refused in a provider's shape."""
    for prefix in ("/api/v2/ai-gateway", "/api/v2/aibridge"):
        url = f"{api_pair.url}{prefix}/nope/v1/messages"
        answer = httpx.post(url)
        assert (answer.status_code, answer.json()["type"]) == (401, "error")
        token = api_pair.create_token("alice")
        answer = httpx.post(url, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["type"]) == (404, "error")


def test_the_api_answers_without_a_token(api_pair: Pair) -> None:
    """The build info needs no sign-in, and a body that is too long is a 413."""
    buildinfo = httpx.get(f"{api_pair.url}/api/v2/buildinfo")
    assert buildinfo.json()["version"].startswith("v2.")
    big = httpx.post(f"{api_pair.url}/api/v2/users/login", content=b" " * 100_000)
    assert big.status_code == 413


def test_coder_users_through_the_gateway(api_pair: Pair) -> None:
    """The calls of ``coder users`` reach authz through Envoy, and a suspension takes effect."""
    owner = {"coder-session-token": api_pair.create_token("root")}
    url = f"{api_pair.url}/api/v2"
    [organization] = httpx.get(f"{url}/users/me/organizations", headers=owner).json()
    assert httpx.get(f"{url}/organizations/default", headers=owner).json() == organization
    body = {
        "username": "carol",
        "email": "carol@example.com",
        "password": PASSWORD,
        "login_type": "password",
        "organization_ids": [organization["id"]],
    }
    made = httpx.post(f"{url}/users", headers=owner, json=body)
    assert made.status_code == 201, made.text
    user = f"{url}/users/{made.json()['id']}"
    token = api_pair.create_token("carol")
    assert _ask(api_pair, token).status_code == 200
    for change, status in (("suspend", 401), ("activate", 200)):
        assert httpx.put(f"{user}/status/{change}", headers=owner).status_code == 200
        assert _ask(api_pair, token).status_code == status
    roles = {"roles": ["user-admin"]}
    assert httpx.put(f"{user}/roles", headers=owner, json=roles).status_code == 200
    assert httpx.get(f"{user}/roles", headers=owner).json()["roles"] == ["user-admin"]
    names = [u["username"] for u in httpx.get(f"{url}/users", headers=owner).json()["users"]]
    assert "carol" in names
    assert httpx.delete(user, headers=owner).status_code == 200
    assert _ask(api_pair, token).status_code == 401
    assert PASSWORD not in api_pair.stdout + api_pair.stderr
    api_pair.provider.take()


def test_coder_login_with_a_service_accounts_token(api_pair: Pair) -> None:
    """``coder login --token`` creates a session for a machine, which a provider's route accepts."""
    api_pair.command("users", "create", "ci", "--service-account")
    headers = {"coder-session-token": api_pair.create_token("ci")}
    url = f"{api_pair.url}/api/v2/users/me"
    assert httpx.get(url, headers=headers).json()["username"] == "ci"
    made = httpx.post(f"{url}/keys", headers=headers)
    assert made.status_code == 201, made.text
    assert _ask(api_pair, made.json()["key"]).status_code == 200
    api_pair.provider.take()


def test_no_secret_is_logged(api_pair: Pair) -> None:
    """No log contains a password or a token that passes through the API."""
    session = _session(api_pair)["coder-session-token"]
    url = f"{api_pair.url}/api/v2/users/me"
    assert httpx.get(f"{url}?coder_session_token={session}").status_code == 200
    headers = {"cookie": f"coder_session_token={session}"}
    assert httpx.get(f"{url}/keys/tokens/{session}", headers=headers).status_code == 404
    last = "/anthropic/v1/models/the-last-one"
    assert httpx.get(f"{api_pair.url}{last}").status_code == 401
    wait_until(lambda: last in api_pair.stdout, what="the line of the last request")
    written = api_pair.stdout + api_pair.stderr
    assert session[11:] not in written
    assert PASSWORD not in written
