"""Providers that answer slowly or not at all, behind a real Envoy, as clients see them."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import yaml

from tests.support.pair import BUSY, CENTRAL_KEYS, OWN_KEYS, Pair, free_port, pair, wait_until
from tests.support.slow_origin import PAUSE_SECONDS, SlowOrigin
from tests.support.tls import trusting

GOVERNANCE = "x-coder-ai-governance-token"
FIRST_BYTE, IDLE, STREAM_IDLE = 1, 2, 4
EJECTION = {"request_volume": 3, "interval": 1, "ejection_time": 2}
RETRY_AFTER = 3
TOO_LATE = (
    f"sent no response within {FIRST_BYTE} s (first_byte_timeout in gateway.yaml). Try again "
    "later, or stream the response if this request took so long."
)
ASK: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def origin() -> Iterator[SlowOrigin]:
    """A provider that does as each request says."""
    with SlowOrigin() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(origin: SlowOrigin) -> Iterator[Pair]:
    """A pair with the stand-in, and with the slow provider under several names."""
    envoy = {"admin": f"127.0.0.1:{free_port()}", "stream_idle_timeout": STREAM_IDLE}
    with pair(start=False, envoy=envoy) as running:
        url = f"http://127.0.0.1:{origin.port}"
        keys = {name: {"file": str(running.folder / f"{name}.key")} for name in CENTRAL_KEYS}
        like_anthropic = {"type": "anthropic", "base_url": url, "key": keys["anthropic"]}
        like_openai = {"type": "openai", "base_url": f"{url}/v1", "key": keys["openai"]}
        limits = {"first_byte_timeout": FIRST_BYTE, "idle_timeout": IDLE}
        running.settings["providers"] += [
            {"name": "claude", "public_url": "https://claude.test/", **like_anthropic, **limits},
            {"name": "gpt", **like_openai, **limits},
            {"name": "plain", **like_anthropic},
            {"name": "idle", **like_anthropic, "idle_timeout": FIRST_BYTE},
            {"name": "ejected", **like_anthropic, "outlier_detection": EJECTION},
            {
                "name": "dead",
                **like_anthropic,
                "base_url": f"http://127.0.0.1:{free_port()}",
                "outlier_detection": EJECTION,
            },
            {
                "name": "relying",
                **like_anthropic,
                "fallback": ["dead"],
                "outlier_detection": {"request_volume": 100, "interval": 7},
            },
        ]
        files = {"cert_file": "ca.pem", "key_file": "ca-key.pem"}
        running.settings["proxy"] = {"listen": f"127.0.0.1:{free_port()}", "ca": files}
        _write(running)
        running.command("proxy", "ca")
        running.start()
        running.create_user("alice")
        yield running


def _write(gateway: Pair) -> None:
    (gateway.folder / "gateway.yaml").write_text(yaml.safe_dump(gateway.settings))


@pytest.fixture(scope="module")
def token(gateway: Pair) -> str:
    """A token of alice."""
    return gateway.create_token("alice")


def _post(
    gateway: Pair, token: str, provider: str, behaviour: str = "status 200", own: str | None = None
) -> httpx.Response:
    headers = {GOVERNANCE: token, "x-behave": behaviour, **({"x-api-key": own} if own else {})}
    url = f"{gateway.url}/{provider}/v1/messages"
    return httpx.post(url, headers=headers, json=ASK, timeout=60)


def _statistic(gateway: Pair, name: str) -> int:
    url = f"http://{gateway.settings['envoy']['admin']}/stats?filter=^{name}$"
    text = httpx.get(url).text.strip()
    return int(text.rpartition(": ")[2]) if text else 0


@pytest.mark.parametrize("own", [None, OWN_KEYS["anthropic"]], ids=["centralized", "byok"])
def test_no_first_byte(gateway: Pair, token: str, origin: SlowOrigin, own: str | None) -> None:
    """A POST without a first byte in time gets a 504 with the reason, and is sent once."""
    before = len(origin.heads)
    answer = _post(gateway, token, "claude", "silent", own)
    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("api_error", "provider_timeout")
    assert error["message"] == f"The provider claude {TOO_LATE}"
    assert answer.json()["request_id"] == answer.headers["request-id"]
    wait_until(lambda: len(origin.heads) == before + 1, what="one request at the provider")
    wait_until(lambda: "upstream_per_try_timeout" in gateway.stdout, 15, "the access log")
    assert _statistic(gateway, "cluster.provider_claude.upstream_rq_per_try_timeout") > 0


def test_a_read_is_tried_twice(gateway: Pair, token: str, origin: SlowOrigin) -> None:
    """A GET without a first byte in time is sent once more, since reading is free."""
    before = len(origin.heads)
    headers = {GOVERNANCE: token, "x-behave": "silent"}
    answer = httpx.get(f"{gateway.url}/claude/v1/models", headers=headers, timeout=60)
    assert answer.status_code == 504
    wait_until(lambda: len(origin.heads) == before + 2, what="two requests at the provider")


@pytest.mark.parametrize(
    ("provider", "setting"),
    [
        ("idle", f"{FIRST_BYTE} s (idle_timeout in gateway.yaml)"),
        ("plain", f"{STREAM_IDLE} s (envoy.stream_idle_timeout in gateway.yaml)"),
    ],
)
def test_silence_before_the_first_byte(
    gateway: Pair, token: str, provider: str, setting: str
) -> None:
    """Without first_byte_timeout, the idle timeout that applies limits the wait."""
    answer = _post(gateway, token, provider, "silent")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
    error = answer.json()["error"]
    assert error["code"] == "provider_timeout"
    assert f"The provider {provider} sent no response within {setting}" in error["message"]


def test_a_slow_upload_does_not_count(gateway: Pair, token: str) -> None:
    """The time that a client needs for its upload does not count."""
    started = time.monotonic()

    def body() -> Iterator[bytes]:
        while time.monotonic() < started + 1.3 * FIRST_BYTE:
            time.sleep(0.1)
            yield b" "
        yield b"{}"

    headers = {GOVERNANCE: token}
    url = f"{gateway.url}/claude/v1/messages"
    answer = httpx.post(url, headers=headers, content=body(), timeout=60)
    assert answer.status_code == 200
    assert time.monotonic() - started > FIRST_BYTE


def test_a_stream_that_has_begun(gateway: Pair, token: str) -> None:
    """The timeout for the first byte does not end a stream that has begun."""
    count = int(1.5 * FIRST_BYTE / PAUSE_SECONDS)
    answer = _post(gateway, token, "claude", f"stream {count}")
    assert answer.text.count("message_start") == 2 * count


def test_anthropic_sdk(gateway: Pair, token: str, origin: SlowOrigin) -> None:
    """Anthropic's SDK shows the message without a retry, and raises on a silent stream."""
    client = anthropic.Anthropic(base_url=f"{gateway.url}/claude", api_key=token, timeout=60)
    before = len(origin.heads)
    with pytest.raises(anthropic.InternalServerError, match="claude sent no response") as raised:
        client.messages.create(**ASK, extra_headers={"x-behave": "silent"})
    assert raised.value.status_code == 504
    wait_until(lambda: len(origin.heads) == before + 1, what="one request at the provider")
    origin.ended.clear()
    stream = client.messages.create(**ASK, stream=True, extra_headers={"x-behave": "stall"})
    events = iter(stream)
    assert next(events).type == "message_start"
    with pytest.raises(Exception, match="incomplete chunked read"):
        next(events)
    assert origin.ended.wait(5 * BUSY)


def test_openai_sdk(gateway: Pair, token: str, origin: SlowOrigin) -> None:
    """OpenAI's SDK shows the message without a retry, and raises on a silent stream."""
    client = openai.OpenAI(base_url=f"{gateway.url}/gpt/v1", api_key=token, timeout=60)
    before = len(origin.heads)
    with pytest.raises(openai.InternalServerError, match="gpt sent no response") as raised:
        client.chat.completions.create(
            model="m", messages=ASK["messages"], extra_headers={"x-behave": "silent"}
        )
    assert (raised.value.status_code, raised.value.code) == (504, "provider_timeout")
    wait_until(lambda: len(origin.heads) == before + 1, what="one request at the provider")
    stream = client.chat.completions.create(
        model="m", messages=ASK["messages"], stream=True, extra_headers={"x-behave": "stall"}
    )
    events = iter(stream)
    assert next(events).choices[0].delta.content == "Hello"
    with pytest.raises(openai.APIConnectionError):
        next(events)


def _handshake(gateway: Pair, token: str, behaviour: str = "") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=60)
    lines = [
        "GET /gpt/v1/responses HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {token}",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        *([f"x-behave: {behaviour}"] if behaviour else []),
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def test_websockets(gateway: Pair, token: str) -> None:
    """A handshake must be answered in time, but an open WebSocket may be silent for longer."""
    with _handshake(gateway, token, "silent") as silent, _handshake(gateway, token) as opened:
        assert opened.recv(65_536).startswith(b"HTTP/1.1 101")
        started = time.monotonic()
        assert silent.recv(65_536).startswith(b"HTTP/1.1 504")
        opened.settimeout(max(0.1, started + 1.3 * IDLE - time.monotonic()))
        with pytest.raises(TimeoutError):
            opened.recv(1)


def test_through_the_proxy(gateway: Pair, token: str) -> None:
    """The timeouts apply in a tunnel of the AI Gateway Proxy too."""
    proxy = f"http://coder:{token}@{gateway.settings['proxy']['listen']}"
    context = trusting(gateway.folder / "ca.pem")
    with httpx.Client(proxy=proxy, verify=context, timeout=60) as client:
        url = "https://claude.test/v1/messages"
        answer = client.post(url, headers={"x-behave": "silent"}, json=ASK)
        assert answer.status_code == 504
        assert answer.json()["error"]["message"] == f"The provider claude {TOO_LATE}"
        with (
            pytest.raises(httpx.RemoteProtocolError),
            client.stream("POST", url, headers={"x-behave": "stall"}, json=ASK) as stream,
        ):
            stream.read()


def _is_ejected(gateway: Pair, token: str, provider: str, behaviour: str) -> bool:
    answer = _post(gateway, token, provider, behaviour)
    assert answer.status_code == 503
    return bool(answer.json()["error"]["code"] == "provider_ejected")


def test_ejection(gateway: Pair, token: str, origin: SlowOrigin) -> None:
    """Envoy ejects a provider that answers no request, says for how long, and uses it again."""
    statistic = "cluster.provider_ejected.outlier_detection.ejections_active"
    before = 0
    found: list[httpx.Response] = []

    def is_answered() -> bool:
        nonlocal before
        found.clear()
        if _is_ejected(gateway, token, "ejected", "reset"):
            before = len(origin.heads)
            owns = (None, OWN_KEYS["anthropic"])
            found.extend([_post(gateway, token, "ejected", own=own) for own in owns])
        # On a busy machine the ejection may have ended meanwhile.
        return bool(found) and _statistic(gateway, statistic) == 1

    wait_until(is_answered, 10, "the ejection")
    for answer in found:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == str(RETRY_AFTER)
        message = answer.json()["error"]["message"]
        assert "does not ask the provider ejected at the moment" in message
        assert f"Try again in {RETRY_AFTER} s." in message
    assert len(origin.heads) == before
    # The same server under another name, and the others, are as they were.
    assert _post(gateway, token, "claude").status_code == 200
    assert _post(gateway, token, "anthropic").status_code == 200
    wait_until(
        lambda: _post(gateway, token, "ejected").status_code == 200,
        RETRY_AFTER,
        "the end of the ejection",
    )


def test_ejection_of_a_dead_provider(gateway: Pair, token: str) -> None:
    """Refused connections cause an ejection too."""
    wait_until(lambda: _is_ejected(gateway, token, "dead", "status 200"), 10, "the ejection")


def test_an_ejected_fallback_provider(gateway: Pair, token: str) -> None:
    """The 503 of a request that went to an ejected fallback provider is about that provider."""
    found: list[httpx.Response] = []

    def is_answered() -> bool:
        if _is_ejected(gateway, token, "dead", "status 200"):
            found.append(_post(gateway, token, "relying", "status 529"))
        # The ejection may have ended meanwhile.
        return bool(found) and "provider_ejected" in found[-1].text

    wait_until(is_answered, 15, "the ejection")
    answer = found[-1]
    assert (answer.status_code, answer.headers["retry-after"]) == (503, str(RETRY_AFTER))
    message = answer.json()["error"]["message"]
    assert "does not ask the provider dead at the moment" in message
    assert f"Try again in {RETRY_AFTER} s." in message


def test_a_response_is_an_answer(gateway: Pair, token: str) -> None:
    """A provider's response with any status is passed on unchanged, and is not a failure."""
    ended = time.monotonic() + 2.2 * EJECTION["interval"]
    while time.monotonic() < ended:
        for status in (429, 500, 503, 504, 529):
            answer = _post(gateway, token, "ejected", f"status {status}")
            assert (answer.status_code, answer.text) == (status, "{}")


def test_reload(gateway: Pair, token: str) -> None:
    """A reload applies other limits and cuts no open stream."""
    headers = {GOVERNANCE: token, "x-behave": "stream 2400"}
    url = f"{gateway.url}/ejected/v1/messages"
    with httpx.stream("POST", url, headers=headers, json=ASK, timeout=60) as stream:
        events = (line for line in stream.iter_lines() if line.startswith("event"))
        next(events)
        started = time.monotonic()
        for provider in gateway.settings["providers"]:
            if provider["name"] == "ejected":
                provider["outlier_detection"] = {**EJECTION, "ejection_time": 1}
                provider["first_byte_timeout"] = 1
        _write(gateway)
        assert "providers changed ejected" in gateway.command("reload").stdout
        answer = _post(gateway, token, "ejected", "silent")
        assert answer.status_code == 504
        assert "within 1 s (first_byte_timeout" in answer.json()["error"]["message"]
        # As many as have come by now, and some more.
        for _ in range(int((time.monotonic() - started) / PAUSE_SECONDS) + 4):
            next(events)
