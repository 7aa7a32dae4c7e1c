"""The JSON access log: every line is valid and as documented, whatever a client sends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from authz.envoy.access_logs import ACCESS_LOG_FIELDS, TAG_FIELDS, TRACE_FIELDS, USAGE_FIELDS
from tests.support import raw
from tests.support.pair import Pair, Provider, pair, wait_until

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "access-log.schema.json").read_text()
)
NASTY = 'quote" back\\slash </script> ${jndi:x} %s {"a":1} é ☃'
LAST = "the-last-request"
BYTES = (
    *(b'"', b"\\", b"\\u0000", b"'", b"%00", b"%0a%0d", b"%22%7d%0a%7b", b"%ff%fe", b"%c3%28"),
    *(
        b"\x80\xff",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"%ed%a0%80",
        b"%e2%80%a8",
        b"%e2%80%ae",
        b"\t",
        b"\x01",
    ),
    *(b"\x1b[31m", b"\x7f", b"{}", b"a" * 5000),
)


@pytest.fixture(scope="module")
def lines(provider: Provider) -> Iterator[list[str]]:
    """The lines that a pair has logged after a run with hostile input."""
    tracing, usage = {"otlp": "http://127.0.0.1:9"}, {"tags": True}
    # Of two threads, one could write a line after the other has written the last one.
    envoy = {"concurrency": 1}
    with pair(provider, tracing=tracing, usage=usage, envoy=envoy) as running:
        running.create_user("alice")
        named = running.command("tokens", "create", "-n", NASTY.strip()[:60], "--user", "alice")
        token = named.stdout.strip()
        _ask(running, token)
        httpx.get(f"{running.url}/{LAST}")
        wait_until(lambda: LAST in running.stdout, 15, "the last line")
        _, _, log = running.stdout.partition("Ctrl-C stops it")
        yield log.strip("\n").split("\n")[1:]


def _ask(running: Pair, token: str) -> None:
    ask = {"model": NASTY, "messages": [{"role": "user", "content": NASTY}]}
    headers = {"authorization": f"Bearer {token}"}
    url = f"{running.url}/openai/v1/chat/completions"
    assert httpx.post(url, headers=headers, json=ask).status_code == 200
    assert httpx.post(url, headers=headers, json=ask | {"stream": True}).status_code == 200
    for data in BYTES:
        for target, more in (
            (b"/openai/v1/models/" + data, []),
            (b"/openai/v1/models?" + data, []),
            (b"/" + data, []),
            (b"/openai/v1/models", [("user-agent", data)]),
            (b"/openai/v1/models", [("x-request-id", data), ("traceparent", data)]),
            (b"/openai/v1/models", [("accept-encoding", data), ("x-forwarded-for", data)]),
            (b"/openai/v1/models", [("x-coder-ai-governance-token", data)]),
            (b"/openai/v1/models", [("x-coder-ai-gateway-project", data), ("session-id", data)]),
        ):
            for credential in ([("x-api-key", token)], []):
                message = raw.request("GET", target, [*credential, *more])
                _send(running, message)
        _send(running, raw.request("GET", b"/openai/v1/models", [("host", data)]))
    for method in ('"', "A" * 300, "CONNECT", "X-{}", "BREW"):
        _send(running, raw.request(method, "/openai/v1/models", [("x-api-key", token)]))
    _send(running, b"\x00\x01\x02\r\n\r\n")


def _send(running: Pair, message: bytes) -> None:
    try:
        raw.ask(running.port, message)
    except (raw.Closed, OSError):
        # That Envoy closes the connection is as good as an answer.
        return


def test_every_line_is_as_documented(lines: list[str]) -> None:
    """Each line is a JSON object that the schema accepts, without any other field."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert len(lines) > 200
    for line in lines:
        entry = json.loads(line)
        problems = [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(entry)]
        assert problems == [], line
        assert line.isprintable()


def test_what_a_client_sends_arrives_whole(lines: list[str]) -> None:
    """A token's name with quotes and snowmen is unchanged in the log, also on a refusal."""
    entries = [json.loads(line) for line in lines]
    assert NASTY.strip()[:60] in {entry["token_name"] for entry in entries}
    assert {entry["decision"] for entry in entries} >= {"allow", "deny", None}
    assert {"token_missing", "route_not_supported"} <= {entry["reason"] for entry in entries}
    assert any(entry["input_tokens"] for entry in entries)
    assert {"{}", None} <= {entry["project"] for entry in entries}


def test_each_request_has_one_line(lines: list[str]) -> None:
    """Each request has a line in exactly one of the two formats."""
    entries = [json.loads(line) for line in lines]
    numbers = [int(entry["entry"].partition("-")[2]) for entry in entries if entry["entry"]]
    first = min(numbers)
    assert sorted(numbers) == [*range(first, first + len(numbers))]
    ids = [entry["request_id"] for entry in entries if entry["request_id"]]
    assert len(ids) == len({*ids})
    assert {entry["decision"] for entry in entries if entry["mode"]} == {"allow"}


def test_the_schema_has_every_field() -> None:
    """The fields that Envoy writes are those documented, and only a setting's are optional."""
    every = {*ACCESS_LOG_FIELDS, *USAGE_FIELDS, *TAG_FIELDS, *TRACE_FIELDS}
    assert SCHEMA["properties"].keys() == every
    assert set(SCHEMA["required"]) == ACCESS_LOG_FIELDS.keys()
