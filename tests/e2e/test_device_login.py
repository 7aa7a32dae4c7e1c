"""Claude Code's sign-in through a real Envoy, at the root and below a provider's base path."""

import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.browsing import Parsed
from tests.support.origin import Origin
from tests.support.pair import CENTRAL_KEYS, Pair, Provider, pair, wait_until

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
MANAGED = {"model": "claude-opus-4"}
BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 16,
    "messages": [{"role": "user", "content": "Hello"}],
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Origin]:
    """A collector of OTLP over HTTP."""
    with Origin("{}") as running:
        yield running


@pytest.fixture(scope="module")
def gateway(provider: Provider, collector: Origin) -> Iterator[Pair]:
    """A pair with managed settings for every user, and a collector."""
    url = f"http://127.0.0.1:{collector.port}/otlp"
    settings = {"managed_settings": [{"settings": MANAGED}], "telemetry": {"otlp": url}}
    with pair(provider, sign_in={"claude_code": settings}) as running:
        yield running


def approve(url: str, token: str, code: str, ca_file: Path | None = None) -> None:
    """Sign in with a token in a browser, enter a code and approve."""
    trust = ssl.create_default_context(cafile=ca_file)
    with httpx.Client(base_url=url, follow_redirects=True, verify=trust) as browser:
        csrf = Parsed(browser.get("/ui/sign-in").text).csrf
        browser.post("/ui/sign-in", data={"csrf": csrf, "token": token})
        csrf = Parsed(browser.get("/ui/device").text).csrf
        page = browser.post("/ui/device", data={"csrf": csrf, "code": code})
        assert page.status_code == 200, page.text
        form = {"csrf": Parsed(page.text).csrf, "code": code, "decision": "approve"}
        assert "Approved" in browser.post("/ui/device/decide", data=form).text


def _sign_in(gateway: Pair, base: str) -> dict[str, Any]:
    """Sign in as a new user, as Claude Code does, and return the answer of the token endpoint."""
    name = f"user{time.monotonic_ns()}"
    gateway.create_user(name)
    metadata = httpx.get(f"{gateway.url}{base}/.well-known/oauth-authorization-server").json()
    endpoint = metadata["device_authorization_endpoint"]
    assert endpoint == f"{gateway.url}{base}/oauth/device_authorization"
    begun = httpx.post(endpoint, data={"surface": "claude_code"}).json()
    assert begun["verification_uri"] == f"{gateway.url}/ui/device"
    approve(gateway.url, gateway.create_token(name), begun["user_code"])
    form = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
    answer = httpx.post(metadata["token_endpoint"], data=form)
    assert answer.status_code == 200, answer.text
    return {**answer.json(), "user": name}


def _ask(gateway: Pair, base: str, token: str, path: str = "/v1/messages") -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"}
    return httpx.post(f"{gateway.url}{base}{path}?beta=true", headers=headers, json=BODY)


@pytest.mark.parametrize("base", ["", "/anthropic"])
def test_from_the_code_to_an_answer(gateway: Pair, provider: Provider, base: str) -> None:
    """A signed-in client is served with the central key, and gets a 401 once its user is gone."""
    body = _sign_in(gateway, base)
    token = body["access_token"]
    provider.take()
    assert _ask(gateway, base, token).status_code == 200
    assert _ask(gateway, base, token, "/v1/messages/count_tokens").status_code == 200
    seen = provider.take()
    assert [one.credential for one in seen] == [CENTRAL_KEYS["anthropic"]] * 2
    assert not any(token in value for one in seen for _, value in one.headers)
    headers = {"authorization": f"Bearer {token}"}
    settings = httpx.get(f"{gateway.url}{base}/managed/settings", headers=headers)
    assert settings.json()["settings"] == MANAGED
    for signal, kind in (("metrics", "json"), ("logs", "x-protobuf"), ("traces", "json")):
        sent = {**headers, "content-type": f"application/{kind}"}
        # With a query it is not for the collector.
        url = f"{gateway.url}{base}/v1/{signal}?a=b"
        answer = httpx.post(url, headers=sent, content=b"x" * 100_000)
        assert (answer.status_code, answer.content) == (200, b"{}" if kind == "json" else b"")
        assert httpx.post(url, content=b"{}").status_code == 401
    assert httpx.get(f"{gateway.url}/v1/models", headers=headers).status_code == 404
    assert httpx.post(f"{gateway.url}/openai/v1/responses", headers=headers).status_code == 403
    gateway.delete_user(body["user"])
    refused = _ask(gateway, base, token)
    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert refused.headers["x-should-retry"] == "false"
    assert httpx.get(settings.url, headers=headers).status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
    assert httpx.post(f"{gateway.url}{base}/oauth/token", data=form).status_code == 401


@pytest.mark.parametrize("base", ["", "/anthropic"])
def test_telemetry_reaches_the_collector(gateway: Pair, collector: Origin, base: str) -> None:
    """The collector gets the body from a caller with a token, but no token or other secret."""
    name = f"user{time.monotonic_ns()}"
    gateway.create_user(name)
    token = gateway.create_token(name)
    secrets = {
        "authorization": f"Bearer {token}",
        "cookie": "a=secret-1",
        "x-api-key": "secret-2",
        "proxy-authorization": "Basic secret-3",
        "anthropic-workspace-id": "secret-4",
    }
    for signal in ("metrics", "logs", "traces"):
        url = f"{gateway.url}{base}/v1/{signal}"
        headers = {**secrets, "content-type": "application/json", "content-encoding": "gzip"}
        collector.heads.clear()
        assert httpx.post(url, content=b"{}").status_code == 401
        assert httpx.post(f"{url}?a=b", headers=headers, content=b"{}").status_code == 200
        assert collector.heads == []
        assert httpx.post(url, headers=headers, content=b"{}").status_code == 200
        (head,) = collector.heads
        assert f"POST /otlp/v1/{signal} HTTP/1.1\r\n".encode() in head
        assert b"\r\ncontent-encoding: gzip" in head
        assert b"secret" not in head
        assert token.encode() not in head


def test_nothing_more_is_open(gateway: Pair) -> None:
    """Similar paths need a token, including those that authz has for Envoy alone."""
    for path in ("/oauth/device_authorization/anthropic", "/managed/settings/x", "/v1/metrics/x"):
        assert httpx.post(f"{gateway.url}{path}", data={"a": "b"}).status_code == 401
    assert _ask(gateway, "", "nothing").status_code == 401


def test_authz_login_device(gateway: Pair, tmp_path: Path) -> None:
    """``authz login --device`` prints a code, waits for its approval and stores the session."""
    name = f"user{time.monotonic_ns()}"
    gateway.create_user(name)
    log = tmp_path / "stderr"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "authz", "login", "--device", "--url", gateway.url]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=stderr, env=_environ())
        try:
            wait_until(lambda: "enter this code" in log.read_text(), 20, "the code")
            found = re.search(r"\b[B-Z]{4}-[B-Z]{4}\b", log.read_text())
            assert found is not None
            approve(gateway.url, gateway.create_token(name), found[0])
            assert process.wait(60) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
    token = (tmp_path / ".authz" / "session").read_text().strip()
    assert token not in log.read_text()
    answer = httpx.get(
        f"{gateway.url}/api/v2/users/me", headers={"authorization": f"Bearer {token}"}
    )
    assert answer.json()["username"] == name


def test_client_lines(gateway: Pair) -> None:
    """``authz client claude-code`` prints the managed settings that lead to this gateway."""
    printed = gateway.command("client", "claude-code").stdout
    settings = json.loads(printed[printed.rindex("{") :])
    assert settings == {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": gateway.url}


def _environ() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("AUTHZ_", "CODER_"))}
