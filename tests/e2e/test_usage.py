"""Usage: a provider's counts are in the log and in the database, and lost rows are noticed."""

import asyncio
import gzip
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.collector import Collector, Record, collector
from tests.support.pair import Pair, pair, wait_until
from tests.support.threaded import served

ANTHROPIC = {
    "input_tokens": 25,
    "cache_read_input_tokens": 7,
    "cache_creation_input_tokens": 3,
    "output_tokens": 42,
}
CHAT = {
    "prompt_tokens": 25,
    "completion_tokens": 42,
    "total_tokens": 67,
    "prompt_tokens_details": {"cached_tokens": 7},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
RESPONSES = {
    "input_tokens": 25,
    "input_tokens_details": {"cached_tokens": 7},
    "output_tokens": 42,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 67,
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "text", "text": 'Said "usage": {"input_tokens": 999}'},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"usage": {"input_tokens": 999}}},
    ],
    "stop_reason": "tool_use",
    "usage": ANTHROPIC,
}
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-x",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": CHAT,
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-y",
    "status": "completed",
    "output": [],
    "usage": RESPONSES,
}


def _event(data: dict[str, Any], name: str = "") -> str:
    return (
        f"event: {name}\ndata: {json.dumps(data)}\n\n" if name else f"data: {json.dumps(data)}\n\n"
    )


def _message_events(*ending: str) -> list[str]:
    start = {**MESSAGE, "content": [], "usage": {**ANTHROPIC, "output_tokens": 1}}
    delta = {"type": "text_delta", "text": "Hi"}
    return [
        _event({"type": "message_start", "message": start}, "message_start"),
        *(
            _event(
                {"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta"
            )
            for _ in range(3)
        ),
        *ending,
    ]


_MESSAGE_END = (
    _event(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 42},
        },
        "message_delta",
    ),
    _event({"type": "message_stop"}, "message_stop"),
)
_CHUNK = {**COMPLETION, "object": "chat.completion.chunk", "usage": None}
_CHUNKS = [
    _event({**_CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi"}}]}),
    _event({**_CHUNK, "choices": [], "usage": CHAT}),
    "data: [DONE]\n\n",
]
_RESPONSE_EVENTS = [
    _event({"type": "response.output_text.delta", "delta": "Hi"}, "response.output_text.delta"),
    _event({"type": "response.completed", "response": RESPONSE}, "response.completed"),
]
_OVERLOADED = _event({"type": "error", "error": {"type": "overloaded_error"}}, "error")


def _stream(events: list[str]) -> Response:
    async def body() -> AsyncIterator[str]:
        for event in events:
            yield event
            await asyncio.sleep(0)

    return StreamingResponse(body(), media_type="text/event-stream")


async def _endless(_request: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        while True:
            for event in _message_events():
                yield event
                await asyncio.sleep(0.02)

    return StreamingResponse(body(), media_type="text/event-stream")


TAG_HEADERS = {
    "x-coder-ai-gateway-project": "web shop",
    "x-claude-code-session-id": "e83fff77-59df-4bbf-a4bb-f539a056d6a6",
}


async def _answer(request: Request) -> Response:
    if TAG_HEADERS.keys() & request.headers.keys():
        # The test expects another answer.
        return Response("a tag has reached the provider", 418)
    model = (await request.json())["model"]
    if model == "endless":
        return await _endless(request)
    if model == "gzip":
        packed = gzip.compress(json.dumps(MESSAGE).encode())
        headers = {"content-encoding": "gzip"}
        return Response(packed, media_type="application/json", headers=headers)
    answers: dict[str, Response] = {
        "message": JSONResponse(MESSAGE),
        "large": JSONResponse({**MESSAGE, "content": [{"type": "text", "text": "x" * 900_000}]}),
        "message stream": _stream(_message_events(*_MESSAGE_END)),
        "completion": JSONResponse(COMPLETION),
        "completion stream": _stream(_CHUNKS),
        "response": JSONResponse(RESPONSE),
        "response stream": _stream(_RESPONSE_EVENTS),
        "error": JSONResponse({"type": "error", "error": {"type": "api_error"}}, 500),
        "error midstream": _stream(_message_events(_OVERLOADED)),
        "no usage": JSONResponse({"object": "list", "data": []}),
        "zero": JSONResponse({**MESSAGE, "usage": {"input_tokens": 0, "output_tokens": 0}}),
    }
    return answers[model]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    """A collector of exported records."""
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def gateway_in_use(receiver: Collector) -> Iterator[Pair]:
    """A pair whose provider gives the answers above, and which exports its requests."""
    app = Starlette(routes=[Route("/{rest:path}", _answer, methods=["POST"])])
    with served(app) as port, pair(start=False) as running:
        for provider in running.settings["providers"]:
            version = "/v1" if provider["type"] == "openai" else ""
            provider["base_url"] = f"http://127.0.0.1:{port}/{provider['name']}{version}"
        running.settings["export"] = {"otlp": receiver.url}
        running.settings["usage"] = {"tags": True}
        running.settings["prices"] = {"overrides": [{"model": "claude-x", **RATES}]}
        running.start()
        running.create_user("alice")
        running.create_user("bob")
        yield running


def _post(gateway: Pair, token: str, path: str, model: str, own: str = "") -> httpx.Response:
    headers = {"x-coder-ai-governance-token": token} | ({"x-api-key": own} if own else {})
    return httpx.post(f"{gateway.url}{path}", headers=headers, json={"model": model})


def _lines(gateway: Pair) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.stdout.splitlines() if line.startswith('{"')]


def _last_line(gateway: Pair, count: int) -> dict[str, Any]:
    """Return the newest line of a provider, as soon as there are more than ``count``."""
    wait_until(lambda: len(_used(gateway)) > count, what="one more line")
    return _used(gateway)[-1]


def _used(gateway: Pair) -> list[dict[str, Any]]:
    return [line for line in _lines(gateway) if line["entry"]]


def _totals(gateway: Pair, by: str = "user") -> dict[str, dict[str, int]]:
    result = gateway.command("usage", "--by", by, "-o", "json")
    return {line[by]: line for line in json.loads(result.stdout)}


def _until_written(gateway: Pair, count: int) -> None:
    """Wait until ``count`` requests have a line, and each line a row. Both come later."""

    def is_complete() -> bool:
        rows = sum(line["requests"] for line in _totals(gateway).values())
        return rows == len(_used(gateway)) >= count

    wait_until(is_complete, 15, "every request having a row")


RATES = {"input": 3, "cached_input": 0.3, "cache_write": 3.75, "output": 15}
COST_OF_MESSAGE = 25 * 3e-6 + 7 * 0.3e-6 + 3 * 3.75e-6 + 42 * 15e-6
"""Anthropic's input tokens exclude those that are read from the cache or written to it."""

COUNTED = {"input_tokens": 25, "cached_tokens": 7, "output_tokens": 42}
WITH_CACHE = {**COUNTED, "input_tokens": 35, "cache_write_tokens": 3}


@pytest.mark.parametrize(
    ("path", "model", "found"),
    [
        ("/anthropic/v1/messages", "message", {"model": "claude-x", "usage": 1, **WITH_CACHE}),
        ("/anthropic/v1/messages", "large", {"model": "claude-x", "usage": 1, **WITH_CACHE}),
        ("/anthropic/v1/messages", "message stream", {"model": "claude-x", **WITH_CACHE}),
        ("/openai/v1/chat/completions", "completion", {"model": "gpt-x", **COUNTED}),
        (
            "/openai/v1/chat/completions",
            "completion stream",
            {"model": "gpt-x", "reasoning_tokens": 5, **COUNTED},
        ),
        ("/openai/v1/responses", "response", {"model": "gpt-y", "reasoning_tokens": 5, **COUNTED}),
        ("/openai/v1/responses", "response stream", {"model": "gpt-y", **COUNTED}),
        ("/anthropic/v1/messages", "zero", {"input_tokens": 0, "output_tokens": 0, "usage": 1}),
        ("/anthropic/v1/messages", "no usage", {"input_tokens": None, "usage": None}),
        ("/anthropic/v1/messages", "error", {"input_tokens": None, "usage": None, "status": 500}),
        ("/anthropic/v1/messages", "gzip", {"input_tokens": None, "content_encoding": "gzip"}),
    ],
)
def test_the_log_says_what_the_provider_counted(
    gateway_in_use: Pair, path: str, model: str, found: dict[str, Any]
) -> None:
    """Counts are read in each format, streamed or not, and never from texts or tool inputs."""
    token = gateway_in_use.create_token("alice")
    before = len(_used(gateway_in_use))
    answer = _post(gateway_in_use, token, path, model)
    assert answer.status_code == (500 if model == "error" else 200)
    line = _last_line(gateway_in_use, before)
    assert {key: line[key] for key in found} == found
    assert (line["user"], line["mode"]) == ("alice", "centralized")


def test_the_database_says_the_same(gateway_in_use: Pair) -> None:
    """The sums by user, model and mode are those of the log, and a refusal is counted as one."""
    token, own = gateway_in_use.create_token("bob"), "sk-ant-own-5d1e0f3a9b7c"
    before = len(_used(gateway_in_use))
    for model in ("message", "message stream"):
        _post(gateway_in_use, token, "/anthropic/v1/messages", model)
    _post(gateway_in_use, token, "/anthropic/v1/messages", "message", own)
    _post(gateway_in_use, token, "/openai/v1/chat/completions", "completion")
    _post(gateway_in_use, "nonsense", "/openai/v1/chat/completions", "completion")
    _until_written(gateway_in_use, before + 5)
    bob = _totals(gateway_in_use)["bob"]
    assert (bob["requests"], bob["input_tokens"], bob["output_tokens"]) == (4, 130, 168)
    assert (bob["cached_tokens"], bob["refusals"], bob["unknown"]) == (28, 0, 0)
    assert _totals(gateway_in_use)[""]["refusals"] >= 1
    for by, key in (
        ("user", "user"),
        ("model", "model"),
        ("mode", "mode"),
        ("token", "token_name"),
    ):
        for group, line in _totals(gateway_in_use, by).items():
            of_log = [one for one in _used(gateway_in_use) if (one[key] or "") == group]
            assert line["requests"] == len(of_log)
            assert line["input_tokens"] == sum(one["input_tokens"] or 0 for one in of_log)
            assert line["output_tokens"] == sum(one["output_tokens"] or 0 for one in of_log)


def test_costs_are_kept_with_the_rows(gateway_in_use: Pair) -> None:
    """Streams cost the same, own keys count separately, and a model without price is named.

    The counter of `/metrics` has the same sum.
    """
    gateway_in_use.create_user("dora")
    token, own = gateway_in_use.create_token("dora"), "sk-ant-own-5d1e0f3a9b7c"
    before = len(_used(gateway_in_use))
    for model in ("message", "message stream"):
        _post(gateway_in_use, token, "/anthropic/v1/messages", model)
    _post(gateway_in_use, token, "/anthropic/v1/messages", "message", own)
    _post(gateway_in_use, token, "/openai/v1/chat/completions", "completion")
    _until_written(gateway_in_use, before + 4)
    result = gateway_in_use.command("usage", "--cost", "-o", "json")
    (dora,) = [line for line in json.loads(result.stdout) if line["user"] == "dora"]
    assert dora["cost_usd"] == pytest.approx(2 * COST_OF_MESSAGE)
    assert dora["own_cost_usd"] == pytest.approx(COST_OF_MESSAGE)
    assert dora["unpriced"] == 1
    assert "openai/gpt-x" in result.stderr
    metrics = httpx.get(f"http://127.0.0.1:{gateway_in_use.http_port}/metrics").text
    counted = re.search(
        r'authz_usage_cost_dollars_total{mode="byok",model="claude-x",.*} (\S+)', metrics
    )
    assert counted is not None
    rows = sum(line["own_cost_usd"] for line in json.loads(result.stdout))
    assert float(counted[1]) == pytest.approx(rows)
    assert 'authz_usage_unpriced_requests_total{model="gpt-x",provider="openai"}' in metrics


def test_tags_are_recorded_and_stay_here(gateway_in_use: Pair) -> None:
    """Project and session are in the log and in sums, and are not sent to the provider."""
    before = len(_used(gateway_in_use))
    response = httpx.post(
        f"{gateway_in_use.url}/anthropic/v1/messages",
        headers={"x-api-key": gateway_in_use.create_token("bob"), **TAG_HEADERS},
        json={"model": "message"},
    )
    assert response.status_code == 200
    line = _last_line(gateway_in_use, before)
    assert [line["project"], line["session"]] == list(TAG_HEADERS.values())
    _until_written(gateway_in_use, before + 1)
    assert _totals(gateway_in_use, "project")["web shop"]["requests"] == 1
    assert _totals(gateway_in_use, "session")[line["session"]]["output_tokens"] == 42


def test_what_is_not_known_is_no_zero(gateway_in_use: Pair) -> None:
    """A compressed answer or an abandoned stream counts as unknown, not as zero tokens."""
    gateway_in_use.create_user("carol")
    token = gateway_in_use.create_token("carol")
    before = len(_used(gateway_in_use))
    _post(gateway_in_use, token, "/anthropic/v1/messages", "gzip")
    _post(gateway_in_use, token, "/anthropic/v1/messages", "zero")
    headers = {"x-api-key": token}
    url = f"{gateway_in_use.url}/anthropic/v1/messages"
    with httpx.stream("POST", url, headers=headers, json={"model": "endless"}) as answer:
        next(answer.iter_bytes())
    _until_written(gateway_in_use, before + 3)
    carol = _totals(gateway_in_use)["carol"]
    assert (carol["unknown"], carol["input_tokens"]) == (2, 0)


def test_metrics_say_the_same(gateway_in_use: Pair) -> None:
    """The counters of tokens add up to the log's values."""
    before = len(_used(gateway_in_use))
    _post(gateway_in_use, gateway_in_use.create_token("bob"), "/openai/v1/responses", "response")
    _until_written(gateway_in_use, before + 1)
    text = httpx.get(f"http://127.0.0.1:{gateway_in_use.http_port}/metrics").text
    counted = sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("gen_ai_client_token_usage_total") and 'type="output"' in line
    )
    assert counted == sum(one["output_tokens"] or 0 for one in _used(gateway_in_use))


@asynccontextmanager
async def _load(gateway: Pair, token: str) -> AsyncIterator[list[int]]:
    statuses: list[int] = []
    stop = False

    async def work() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            while not stop:
                answer = await client.post(
                    f"{gateway.url}/anthropic/v1/messages",
                    headers={"x-api-key": token},
                    json={"model": "message"},
                )
                statuses.append(answer.status_code)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    yield statuses
    stop = True
    await asyncio.gather(*workers)


async def test_what_was_lost_is_counted_and_filled_in(gateway_in_use: Pair) -> None:
    """`authz usage` reports missing rows, and `import` adds each of them once."""
    gateway = gateway_in_use
    token = await asyncio.to_thread(gateway.create_token, "alice")
    earlier = len(_used(gateway))
    async with _load(gateway, token) as statuses:
        await asyncio.to_thread(wait_until, lambda: len(statuses) > 50, 10, "load")
    assert set(statuses) == {200}
    await asyncio.to_thread(_until_written, gateway, earlier + len(statuses))
    before = await asyncio.to_thread(_totals, gateway)
    gateway.command("usage")
    lost = _used(gateway)[-20:]
    _forget(gateway, [line["entry"] for line in lost])
    shown = gateway.command("usage")
    assert "20 requests have no row" in shown.stderr
    log = gateway.folder / "access.log"
    log.write_text(gateway.stdout + "{broken\n\n[1]\n")
    filled = gateway.command("usage", "import", str(log))
    assert "added 20 that were missing" in filled.stdout
    again = gateway.command("usage", "import", str(log))
    assert "added 0 that were missing" in again.stdout
    assert await asyncio.to_thread(_totals, gateway) == before
    assert "have no row" not in gateway.command("usage").stderr


def _forget(gateway: Pair, entries: list[str]) -> None:
    """Delete rows, as if the stream had lost them."""
    with sqlite3.connect(gateway.folder / "identity.db") as connection:
        for entry in entries:
            connection.execute("DELETE FROM usage_entries WHERE id = ?", [entry])
        connection.execute(
            "UPDATE usage_processes SET received = received - ? WHERE process = ?",
            [len(entries), entries[0].partition("-")[0]],
        )


def test_usage_in_words(gateway_in_use: Pair) -> None:
    """An empty result is reported, wrong words are wrong usage, and CSV has a header."""
    assert gateway_in_use.command("usage", "--since", "soon", check=False).returncode == 2
    assert gateway_in_use.command("usage", "--by", "colour", check=False).returncode == 2
    time.sleep(1.1)
    empty = gateway_in_use.command("usage", "--since", "1s")
    assert (empty.stdout, "No requests" in empty.stderr) == ("", True)
    lines = gateway_in_use.command("usage", "-o", "csv", "--by", "mode").stdout.splitlines()
    assert lines[0].startswith("mode,requests,refusals,input_tokens")


def test_requests_and_changes_are_exported(gateway_in_use: Pair, receiver: Collector) -> None:
    """The collector gets each request and each change once, with the values that commands print."""
    gateway = gateway_in_use
    token = gateway.create_token("alice")
    own = "sk-ant-of-alice"
    before = len(_used(gateway))
    assert _post(gateway, token, "/anthropic/v1/messages", "message", own).status_code == 200
    _until_written(gateway, before + 1)

    printed, requests = _until_exported(gateway, receiver, "usage")
    _compare(printed, requests)
    _compare(*_until_exported(gateway, receiver, "audit"))
    last = json.loads(printed.splitlines()[-1])
    assert (last["username"], last["mode"], last["output_tokens"]) == ("alice", "byok", 42)
    assert last["cost_nano_dollars"] == round(COST_OF_MESSAGE * 1e9)
    metrics = httpx.get(f"http://127.0.0.1:{gateway.http_port}/metrics").text
    assert 'authz_export_dropped_total{kind="usage"} 0.0' in metrics
    sent = b"".join(request.SerializeToString() for request in receiver.log_requests)
    for text in (sent.decode("latin-1"), printed, _changes(gateway)):
        for secret in (token, token.partition("-")[2], own):
            assert secret not in text


def _until_exported(gateway: Pair, receiver: Collector, kind: str) -> tuple[str, list[Record]]:
    """Return the command's output and the collector's records, both of the same moment.

    Requests of earlier tests may still get their rows.
    """
    found = "", list[Record]()

    def is_complete() -> bool:
        nonlocal found
        printed = gateway.command(kind, "export").stdout
        name = "authz.request" if kind == "usage" else "authz.audit"
        found = printed, _exported(receiver, name)
        ids = {json.loads(line)["id"] for line in printed.splitlines()}
        return ids == {record.attributes["id"] for record in found[1]}

    wait_until(is_complete, 20, f"everything of {kind} being exported")
    return found


def _changes(gateway: Pair) -> str:
    return gateway.command("audit", "export").stdout


def _exported(receiver: Collector, name: str) -> list[Record]:
    return [record for record in receiver.records if record.name == name]


def _compare(printed: str, records: list[Record]) -> None:
    """Compare the lines of a command with records, each of which appears once."""
    lines = {line["id"]: line for line in map(json.loads, printed.splitlines())}
    assert len(records) == len(lines)
    for record in records:
        line = lines[record.attributes["id"]]
        at = datetime.fromisoformat(line.pop("time"))
        assert abs(at.timestamp() - record.time_ns / 1e9) < 0.001
        line.setdefault("additional_fields", {})
        fields = json.loads(record.attributes.pop("additional_fields", "{}"))
        assert line.pop("additional_fields") == fields
        known = {key: value for key, value in line.items() if value not in (None, "", [])}
        assert record.attributes == known


MESSAGES = [{"role": "user", "content": "Hello"}]
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "anthropic": ("/anthropic/v1/messages", {"max_tokens": 9, "messages": MESSAGES}),
    "chat": ("/openai/v1/chat/completions", {"messages": MESSAGES}),
    "responses": ("/openai/v1/responses", {"input": "Hello"}),
}
COMPRESSED = {"accept-encoding": "gzip, deflate, br, zstd"}
"""The header that Claude Code and most SDKs send."""


@pytest.fixture(scope="module")
def gateway_with_compression() -> Iterator[Pair]:
    """A pair whose provider compresses if the client accepts it."""
    with pair() as running:
        running.create_user("alice")
        yield running


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
@pytest.mark.parametrize("name", list(CALLS))
def test_a_client_that_accepts_compression(
    gateway_with_compression: Pair, name: str, stream: bool
) -> None:
    """The tokens of a client that accepts compression are known: the provider does not compress."""
    gateway = gateway_with_compression
    path, call = CALLS[name]
    call = {"model": "m", "stream": stream, **call}
    if stream and name == "chat":
        call["stream_options"] = {"include_usage": True}
    before = len(_used(gateway))
    gateway.provider.take()
    headers = {"x-api-key": gateway.create_token("alice"), **COMPRESSED}
    answer = httpx.post(f"{gateway.url}{path}", headers=headers, json=call)
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert "Hello" in answer.text
    (seen,) = gateway.provider.take()
    assert seen.all("accept-encoding") == []
    line = _last_line(gateway, before)
    assert line["usage"] == 1
    assert line["input_tokens"] > 0
    assert line["output_tokens"] > 0


def test_what_holds_no_tokens_stays_compressed(gateway_with_compression: Pair) -> None:
    """A list of models is compressed if the client accepts it."""
    gateway = gateway_with_compression
    headers = {"x-api-key": gateway.create_token("alice"), **COMPRESSED}
    answer = httpx.get(f"{gateway.url}/openai/v1/models", headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["data"]


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_compression_where_nothing_is_metered(stream: bool) -> None:
    """Without usage, the client's header reaches the provider, and the answer stays compressed."""
    with pair(usage={"enabled": False}) as running:
        running.create_user("alice")
        headers = {"x-api-key": running.create_token("alice"), **COMPRESSED}
        call = {"model": "m", "stream": stream, **CALLS["anthropic"][1]}
        answer = httpx.post(f"{running.url}/anthropic/v1/messages", headers=headers, json=call)
        assert answer.headers["content-encoding"] == "gzip"
        assert "Hello" in answer.text
        (seen,) = running.provider.take()
        assert seen.all("accept-encoding") == [COMPRESSED["accept-encoding"]]


def test_switched_off() -> None:
    """Without usage, nothing is read from answers, streamed to authz or written."""
    with pair(usage={"enabled": False}) as running:
        running.create_user("alice")
        token = running.create_token("alice")
        _post(running, token, "/anthropic/v1/messages", "m")
        wait_until(lambda: _used(running), what="the line")
        assert "input_tokens" not in _used(running)[0]
        assert "No requests" in running.command("usage").stderr
        (rendered,) = running.folder.glob("envoy-*/listeners/listeners.json")
        assert "ai_protocol_manager" not in rendered.read_text()
