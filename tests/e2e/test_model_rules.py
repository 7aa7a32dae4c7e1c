"""Rules for models on a real pair: Envoy reads the model, in the body or in the path."""

import asyncio
import gzip
import signal
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import yaml

from tests.support import raw
from tests.support.pair import OWN_KEYS, Pair, Provider, pair, wait_until
from tests.support.raw import Connection

MIB = 1 << 20
QUESTION: list[Any] = [{"role": "user", "content": "Hello"}]
JSON = ("content-type", "application/json")
RULES = [
    {"deny": ["*opus*", "gpt-9*"]},
    {"groups": ["contractors"], "allow": ["claude-haiku-*", "gpt-*-mini", "gemini-*-flash"]},
    {"users": ["carol"], "deny": ["claude-sonnet-*"]},
]


@pytest.fixture(scope="module")
def ruled(provider: Provider) -> Iterator[Pair]:
    """A pair with rules for everyone, for a group, for a user and for a token."""
    with pair(provider, start=False, models={"rules": RULES}, envoy={"max_body_mib": 1}) as running:
        url = running.provider.server.url
        key = running.settings["providers"][0]["key"]
        running.settings["providers"] += [
            {"name": "gemini", "type": "gemini", "base_url": f"{url}/gemini", "key": key},
            {"name": "azure", "type": "azure", "base_url": f"{url}/azure", "key": key},
        ]
        for name in ("alice", "bob", "carol"):
            running.create_user(name)
        asyncio.run(_add_contractor(running, "bob"))
        running.narrow = running.create_token("alice")  # type: ignore[attr-defined]
        rule = {"tokens": [running.narrow[:10]], "allow": ["claude-3-*"]}  # type: ignore[attr-defined]
        running.settings["models"]["rules"].append(rule)
        running.start()
        yield running


@pytest.fixture(scope="module")
def alice(ruled: Pair) -> str:
    """A token of a user to whom only the rule for everyone applies."""
    return ruled.create_token("alice")


async def _add_contractor(running: Pair, user: str) -> None:
    async with running._store() as store:
        group = await store.create_group("contractors")
        await store.add_members(group, [await store.get_user(user)])


def _post(gateway: Pair, token: str, path: str, body: Any, **headers: str) -> httpx.Response:
    gateway.provider.take()
    return httpx.post(f"{gateway.url}{path}", headers={"x-api-key": token, **headers}, json=body)


def _messages(gateway: Pair, token: str, model: str, **headers: str) -> httpx.Response:
    body = {"model": model, "max_tokens": 8, "messages": QUESTION}
    return _post(gateway, token, "/anthropic/v1/messages", body, **headers)


def _raw(gateway: Pair, token: str, body: bytes, *headers: tuple[str, str]) -> raw.Answer:
    gateway.provider.take()
    fields = [("x-api-key", token), *(headers or [JSON])]
    return raw.ask(gateway.port, raw.request("POST", "/anthropic/v1/messages", fields, body))


def test_each_owner_has_the_models_of_its_rules(ruled: Pair, alice: str) -> None:
    """Rules of everyone, group and user apply together, also for BYOK; a token's rule narrows."""
    bob, carol = (ruled.create_token(name) for name in ("bob", "carol"))
    narrow: str = ruled.narrow  # type: ignore[attr-defined]
    own = {"x-api-key": OWN_KEYS["anthropic"], "x-coder-ai-governance-token": bob}
    allowed = [(alice, "claude-sonnet-4-5"), (bob, "claude-haiku-4-5"), (narrow, "claude-3-7")]
    for token, model in (*allowed, (carol, "claude-haiku-4-5")):
        assert _messages(ruled, token, model).status_code == 200
        assert len(ruled.provider.take()) == 1
    refused = [(alice, "claude-opus-4"), (bob, "claude-sonnet-4-5"), (carol, "claude-sonnet-4-5")]
    for token, model in (*refused, (narrow, "claude-sonnet-4-5"), (alice, "Claude-OPUS-4")):
        answer = _messages(ruled, token, model)
        assert (answer.status_code, answer.json()["type"]) == (400, "error")
        assert model in answer.json()["error"]["message"]
        assert ruled.provider.take() == []
    assert _messages(ruled, bob, "claude-sonnet-4-5", **own).status_code == 400
    assert _messages(ruled, bob, "claude-haiku-4-5", **own).status_code == 200


def test_the_sdks_raise_their_own_error(ruled: Pair, alice: str) -> None:
    """Both SDKs raise BadRequestError with the text, without a retry."""
    claude = anthropic.Anthropic(
        base_url=f"{ruled.url}/anthropic", auth_token=alice, api_key=None, max_retries=2
    )
    with pytest.raises(anthropic.BadRequestError, match="a rule denies"):
        claude.messages.create(model="claude-opus-4", max_tokens=8, messages=QUESTION)
    gpt = openai.OpenAI(base_url=f"{ruled.url}/openai/v1", api_key=alice, max_retries=2)
    with pytest.raises(openai.BadRequestError) as error:
        gpt.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert error.value.code == "model_not_allowed"
    assert gpt.chat.completions.create(model="gpt-5-mini", messages=QUESTION)
    assert [model.id for model in gpt.models.list()]


def test_the_model_of_the_path(ruled: Pair, alice: str) -> None:
    """The model in the path counts for Gemini and Azure, and not the one in the body."""
    bob = ruled.create_token("bob")
    for token, path, passes in (
        (bob, "/gemini/v1beta/models/gemini-2.5-flash:generateContent", True),
        (bob, "/gemini/v1beta/models/gemini-2.5-flash:embedContent?x=/models/gemini-pro:a", True),
        (bob, "/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", False),
        (bob, "/gemini/v1beta/models/gemini-2.5-pro:countTokens?a=/models/gemini-x-flash:", False),
        (alice, "/azure/openai/deployments/gpt-9-x/chat/completions?api-version=1", False),
        (alice, "/azure/openai/deployments/GPT-9/chat/completions", False),
        (alice, "/azure/openai/deployments/gpt-5/chat/completions", True),
    ):
        answer = _post(ruled, token, path, {"model": "gemini-2.5-flash", "contents": []})
        assert bool(ruled.provider.take()) is passes, path
        if not passes:
            assert (answer.status_code, "a rule" in answer.text or "only" in answer.text) == (
                400,
                True,
            )


def test_requests_without_a_model_pass(ruled: Pair, alice: str) -> None:
    """Lists, telemetry and stored responses need no model, but a model named there counts."""
    for method, path, body in (
        ("GET", "/anthropic/v1/models", None),
        ("GET", "/openai/v1/models/gpt-9", None),
        ("POST", "/anthropic/api/event_logging/batch", {"events": []}),
        ("POST", "/openai/v1/responses/resp_1/cancel", None),
        ("DELETE", "/openai/v1/responses/resp_1", None),
        ("POST", "/openai/v1/conversations", {"items": []}),
    ):
        ruled.provider.take()
        headers = {"authorization": f"Bearer {alice}"}
        httpx.request(method, f"{ruled.url}{path}", headers=headers, json=body)
        assert len(ruled.provider.take()) == 1, path
    answer = _post(ruled, alice, "/openai/v1/responses/compact", {"model": "gpt-9"})
    assert (answer.status_code, ruled.provider.take()) == (400, [])


def test_an_upload_is_not_held(ruled: Pair, alice: str) -> None:
    """Envoy does not read a form with a file of any size; authz refuses it if a rule applies."""
    ruled.provider.take()
    answer = httpx.post(
        f"{ruled.url}/openai/v1/audio/transcriptions?a=/chat/completions",
        headers={"authorization": f"Bearer {alice}"},
        files={"file": b"x" * 2 * MIB},
        data={"model": "whisper-1"},
    )
    assert (answer.status_code, ruled.provider.take()) == (400, [])
    assert answer.json()["error"]["code"] == "model_unknown"


def test_a_web_socket_is_refused_so_that_clients_use_http(ruled: Pair, alice: str) -> None:
    """A WebSocket is refused if there are rules, since Envoy reads no frames."""
    headers = [
        ("authorization", f"Bearer {alice}"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    ruled.provider.take()
    answer = raw.ask(ruled.port, raw.request("GET", "/openai/v1/responses", headers))
    assert (answer.status, ruled.provider.take()) == (426, [])


_SONNET = (
    b'{"model":"claude-sonnet-4-5","max_tokens":8,"messages":[{"role":"user","content":"x"}]%s}'
)
_TWO = [("content-type", "application/json"), ("content-type", "application/json")]


@pytest.mark.parametrize(
    "body",
    [
        _SONNET % b',"model":"claude-opus-4"',
        b'{"model":"claude-opus-4",' + (_SONNET % b"")[1:],
        _SONNET % b',"mod\\u0065l":"claude-opus-4"',
        b'{"mod\\u0065l":"claude-opus-4","messages":[]}',
        b'{"model":"claude-\\u006fpus-4","messages":[]}',
        b'{"model":["claude-opus-4"]}',
        b'{"model":{"model":"claude-sonnet-4-5"}}',
        b'{"model":null}',
        b'{"model":""}',
        b'{"model":" claude-sonnet-4-5"}',
        b'{"model":"claude-sonnet-4-5\\u0000"}',
        b'{"model":"claude-sonnet-4-5\\n"}',
        b'{"model":"claude-s\\u00f3nnet"}',
        b'{"model":"' + b"a" * 257 + b'"}',
        b'{"Model":"claude-sonnet-4-5"}',
        b'{"metadata":{"model":"claude-sonnet-4-5"}}',
        b'[{"model":"claude-sonnet-4-5"}]',
        b'"claude-sonnet-4-5"',
        b"{}",
        b"",
        b'{"model":"claude-sonnet-4-5"',
        _SONNET % b"" + _SONNET % b"",
        b"\xef\xbb\xbf" + _SONNET % b"",
        (_SONNET % b"").decode().encode("utf-16"),
        b"{'model':'claude-sonnet-4-5'}",
        _SONNET % b"/**/",
        _SONNET % b',"x":NaN',
        _SONNET % (b',"x":' + b"[" * 40 + b"]" * 40),
        gzip.compress(_SONNET % b"", mtime=0),
        b"model=claude-sonnet-4-5",
        b"\x00" * 100,
    ],
    ids=lambda body: repr(body)[:60],
)
def test_a_body_whose_model_is_not_certain_is_refused(ruled: Pair, alice: str, body: bytes) -> None:
    """A body in which a parser could find another model than the rules did is refused."""
    answer = _raw(ruled, alice, body)
    assert (answer.status, ruled.provider.take()) == (400, [])
    assert answer.error["type"] == "invalid_request_error"
    assert b"claude-s\xc3" not in answer.whole


@pytest.mark.parametrize(
    "headers",
    [
        [JSON, ("content-encoding", "gzip")],
        [JSON, ("content-encoding", "br")],
        [JSON, ("content-encoding", "identity")],
        [JSON, ("Content-Encoding", "")],
        [("content-type", "application/json; charset=utf-7")],
        [("content-type", "application/json; charset=utf-16le")],
        [("content-type", "text/plain")],
        [("content-type", "multipart/form-data; boundary=x")],
        [("content-type", "application/x-www-form-urlencoded")],
        [("content-type", "application/json, text/plain")],
        [("accept", "*/*")],
        _TWO,
    ],
    ids=str,
)
def test_a_body_that_can_be_read_in_two_ways_is_refused(
    ruled: Pair, alice: str, headers: list[tuple[str, str]]
) -> None:
    """A body is refused if a provider could decompress it or read it as another format."""
    answer = _raw(ruled, alice, _SONNET % b"", *headers)
    assert (answer.status, ruled.provider.take()) == (400, [])
    assert "Content-Type: application/json" in answer.error["message"]


def test_large_requests(ruled: Pair, alice: str) -> None:
    """A request up to the limit passes unchanged, and a larger one is a 413, in both framings."""
    text = b"x" * (MIB - 200)
    body = _SONNET.replace(b'"x"', b'"' + text + b'"') % b""
    assert _raw(ruled, alice, body).status == 200
    assert ruled.provider.take()[0].all("content-length") == [str(len(body))]
    head = raw.request(
        "POST",
        "/anthropic/v1/messages",
        [("x-api-key", alice), JSON, ("transfer-encoding", "chunked")],
    )
    chunks = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    with Connection(ruled.port, 30) as connection:
        connection.send(head)
        for chunk in chunks:
            connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        connection.send(b"0\r\n\r\n")
        assert connection.read().status == 200
    ruled.provider.take()
    answer = _raw(ruled, alice, b" " * MIB + body)
    assert (answer.status, ruled.provider.take()) == (413, [])
    assert "envoy.max_body_mib" in answer.error["message"]


def test_a_request_that_is_not_whole_reaches_no_one(ruled: Pair, alice: str) -> None:
    """No part of a request reaches the provider before its last byte has arrived."""
    body = _SONNET % b""
    fields = [("x-api-key", alice), JSON, ("expect", "100-continue")]
    another = raw.request("POST", "/anthropic/v1/messages", fields[:2], body)
    whole = raw.request("POST", "/anthropic/v1/messages", fields, body)
    ruled.provider.take()
    with Connection(ruled.port, 30) as connection:
        connection.send(whole[:-1])
        assert connection.read_status() == 100
        # What went on at once would be there before a later request is answered.
        assert raw.ask(ruled.port, another).status == 200
        assert len(ruled.provider.take()) == 1
        connection.send(whole[-1:])
        assert connection.read().status == 200
    assert len(ruled.provider.take()) == 1


def test_a_bad_token_is_refused_as_ever(ruled: Pair) -> None:
    """The token is checked before the model."""
    answer = _messages(ruled, "not-a-token", "claude-opus-4")
    assert answer.status_code == 401


def test_a_reload_changes_the_rules(ruled: Pair, alice: str) -> None:
    """New rules apply after a reload."""
    assert _messages(ruled, alice, "claude-sonnet-4-5").status_code == 200
    ruled.settings["models"]["rules"] = [{"deny": ["claude-sonnet-*"]}]
    (ruled.folder / "gateway.yaml").write_text(yaml.safe_dump(ruled.settings))
    assert ruled.process is not None
    ruled.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: _messages(ruled, alice, "claude-sonnet-4-5").status_code == 400,
        what="the new rules",
    )
    assert _messages(ruled, alice, "claude-opus-4").status_code == 200
