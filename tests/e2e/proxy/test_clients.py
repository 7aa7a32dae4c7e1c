"""curl, httpx and both SDKs through the proxy, with the URL of the provider itself."""

import os
import ssl
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.proxy.pairs import HOSTS, Proxied
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, SUBSCRIPTION, wait_until
from tests.support.requests import CREDENTIAL_HEADERS, leaks
from tests.support.tls import trusting
from tests.support.tokens import altered

MODELS = "https://api.anthropic.com/v1/models"
MESSAGES = "https://api.anthropic.com/v1/messages"
CALL: Any = {
    "model": "claude-test",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Hello"}],
}
CHAT: Any = {"model": "gpt-test", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(params=["http", "https"])
def proxy(request: pytest.FixtureRequest) -> Proxied:
    """The proxy in clear, then the one with a TLS listener."""
    name = "proxied" if request.param == "http" else "proxied_tls"
    ready: Proxied = request.getfixturevalue(name)
    ready.provider.take()
    return ready


def _client(proxy: Proxied, *, http2: bool = False, token: str | None = None) -> httpx.Client:
    listener = trusting(proxy.listener_ca) if proxy.listener_ca else None
    url = proxy.url if token is None else proxy.url_for(token)
    alpn = ("h2", "http/1.1") if http2 else ("http/1.1",)
    return httpx.Client(
        proxy=httpx.Proxy(url, ssl_context=listener),
        verify=trusting(proxy.ca_file, alpn=alpn),
        http2=http2,
        timeout=60,
    )


def _arrived(proxy: Proxied) -> list[tuple[str, str]]:
    """Return the credentials of the one request at the provider, which must hold no token."""
    (seen,) = proxy.provider.take()
    assert leaks(seen, [proxy.token.partition("-")[2]]) == []
    return [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_httpx(proxy: Proxied, http2: bool) -> None:
    """The httpx client reaches the provider with the central key, in either HTTP version inside."""
    with _client(proxy, http2=http2) as client:
        answer = client.get(MODELS)
    assert answer.status_code == 200
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert _arrived(proxy) == [("x-api-key", CENTRAL_KEYS["anthropic"])]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "{token}"},
        {"authorization": "Bearer {token}"},
        {"x-api-key": "{token}", "authorization": "Bearer {token}"},
    ],
    ids=["none", "x-api-key", "bearer", "both"],
)
def test_coder_token_or_none_inside(proxied: Proxied, headers: dict[str, str]) -> None:
    """The central key is used without a credential, and with a Coder token as the credential."""
    proxied.provider.take()
    sent = {name: value.format(token=proxied.token) for name, value in headers.items()}
    with _client(proxied) as client:
        assert client.get(MODELS, headers=sent).status_code == 200
    assert _arrived(proxied) == [("x-api-key", CENTRAL_KEYS["anthropic"])]


@pytest.mark.parametrize(
    ("provider", "path", "header"),
    [
        ("anthropic", "/v1/models", ("x-api-key", OWN_KEYS["anthropic"])),
        ("anthropic", "/v1/models", ("authorization", f"Bearer {SUBSCRIPTION}")),
        ("openai", "/v1/models", ("authorization", f"Bearer {OWN_KEYS['openai']}")),
        (
            "chatgpt",
            "/backend-api/codex/models",
            ("authorization", f"Bearer {OWN_KEYS['chatgpt']}"),
        ),
        ("copilot", "/models", ("authorization", f"Bearer {OWN_KEYS['copilot']}")),
    ],
)
def test_own_credential_inside(
    proxied: Proxied, provider: str, path: str, header: tuple[str, str]
) -> None:
    """A user's own credential reaches its provider unchanged, and no other does."""
    proxied.provider.take()
    with _client(proxied) as client:
        answer = client.get(f"https://{HOSTS[provider]}{path}", headers=[header])
    assert answer.status_code == 200, answer.text
    assert _arrived(proxied) == [header]


def test_byok_off(proxied_tls: Proxied) -> None:
    """With BYOK off an own credential is a 403 inside the tunnel, and no credential is a 200."""
    proxied_tls.provider.take()
    with _client(proxied_tls) as client:
        refused = client.get(MODELS, headers={"x-api-key": OWN_KEYS["anthropic"]})
        served = client.get(MODELS)
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "permission_error"
    assert served.status_code == 200
    assert _arrived(proxied_tls) == [("x-api-key", CENTRAL_KEYS["anthropic"])]


def test_other_path(proxied: Proxied) -> None:
    """A path of the provider that the gateway does not serve is a 404 that names it."""
    proxied.provider.take()
    with _client(proxied) as client:
        answer = client.get("https://api.anthropic.com/v1/organizations/users")
    assert answer.status_code == 404
    assert "/v1/organizations/users" in answer.json()["error"]["message"]
    assert proxied.provider.take() == []


def test_streaming(proxied: Proxied) -> None:
    """Pieces of a streamed answer arrive one by one, as the provider sends them."""

    def one_by_one() -> bool:
        times = []
        with (
            _client(proxied) as client,
            client.stream("POST", MESSAGES, json={**CALL, "stream": True}) as answer,
        ):
            assert answer.status_code == 200
            for piece in answer.iter_raw():
                assert piece
                times.append(time.monotonic())
        # The stand-in waits 50 ms between two events.
        gaps = [after - before for before, after in pairwise(times)]
        return len(times) >= 5 and times[-1] - times[0] > 0.15 and max(gaps) < 1

    # A busy machine may hold pieces back. A proxy that does so would do it every time.
    wait_until(one_by_one, 10, "the provider's pauses")


@pytest.mark.usefixtures("variables")
def test_anthropic_sdk(proxy: Proxied) -> None:
    """Anthropic's SDK works with the two variables alone, and its default base URL."""
    with anthropic.Anthropic(api_key=proxy.token, max_retries=0) as client:
        message = client.messages.create(**CALL)
        with client.messages.stream(**CALL) as stream:
            text = stream.get_final_text()
    assert message.content
    assert text


async def test_anthropic_sdk_async(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Anthropic's asynchronous SDK streams through the proxy with a subscription's token."""
    _set_variables(proxied, monkeypatch, tmp_path)
    async with (
        anthropic.AsyncAnthropic(auth_token=SUBSCRIPTION, max_retries=0) as client,
        client.messages.stream(**CALL) as stream,
    ):
        assert await stream.get_final_text()


@pytest.mark.usefixtures("variables")
def test_openai_sdk(proxy: Proxied) -> None:
    """OpenAI's SDK works with the two variables alone, and its default base URL."""
    with openai.OpenAI(api_key=proxy.token, max_retries=0) as client:
        whole = client.chat.completions.create(**CHAT)
        pieces = list(client.chat.completions.create(**CHAT, stream=True))
        response = client.responses.create(model="gpt-test", input="Hello")
    assert whole.choices[0].message.content
    assert len(pieces) > 2
    assert response.output_text


def test_openai_sdk_own_key(
    proxied: Proxied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """OpenAI's SDK with the user's own key needs no gateway settings."""
    _set_variables(proxied, monkeypatch, tmp_path)
    proxied.provider.take()
    with openai.OpenAI(api_key=OWN_KEYS["openai"], max_retries=0) as client:
        assert client.models.list().data
    assert _arrived(proxied) == [("authorization", f"Bearer {OWN_KEYS['openai']}")]


@pytest.fixture
def variables(proxy: Proxied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sets the variables of ``authz proxy env`` in this process, and no others of this project."""
    _set_variables(proxy, monkeypatch, tmp_path)


def _set_variables(proxy: Proxied, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "OPENAI_BASE_URL", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    bundle = folder / "bundle.pem"
    trusted = [proxy.ca_file, *([proxy.listener_ca] if proxy.listener_ca else [])]
    bundle.write_text("".join(file.read_text() for file in trusted))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(proxy: Proxied, version: str) -> None:
    """The curl program reaches the provider with the variables of ``authz proxy env``."""
    status, body = _curl(proxy, version, MODELS, "-w", "\n%{http_version} %{http_code}")
    assert status == 0
    assert '"data"' in body
    assert body.splitlines()[-1] == ("2 200" if version == "--http2" else "1.1 200")


def test_curl_with_wrong_token(proxy: Proxied) -> None:
    """The curl program reports that the proxy needs credentials; nothing reaches the provider."""
    status, _ = _curl(proxy, MODELS, "-w", "%{http_connect}", token=altered(proxy.token))
    assert status == 56
    assert proxy.provider.take() == []


def _curl(proxy: Proxied, *arguments: str, token: str | None = None) -> tuple[int, str]:
    environ = {
        **os.environ,
        "HTTPS_PROXY": proxy.url if token is None else proxy.url_for(token),
        "CURL_CA_BUNDLE": str(proxy.ca_file),
    }
    for name in ("https_proxy", "no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy"):
        environ.pop(name, None)
    options = ["--proxy-cacert", str(proxy.listener_ca)] if proxy.listener_ca else []
    result = subprocess.run(
        ["curl", "--silent", "--max-time", "120", *options, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def test_curl_that_waits_for_the_challenge(proxied: Proxied) -> None:
    """A client that sends credentials only when asked, such as git, is served as well."""
    status, output = _curl(proxied, "--proxy-anyauth", "-v", "-w", "%{http_code}", MODELS)
    assert status == 0
    assert output.endswith("200")


def test_stranger_refuses_the_leaf(proxied: Proxied) -> None:
    """A client that does not trust the CA refuses the proxy's certificate."""
    with (
        httpx.Client(proxy=proxied.url, verify=ssl.create_default_context()) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(MODELS)
