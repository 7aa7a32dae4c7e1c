"""The behaviour that all providers of the stand-in share."""

import hashlib
import logging
import time
from collections.abc import Iterator

import httpx
import pytest

from authz.demo.script import count_words, last_prompt
from tests.support.provider import Accounts, RecordedRequest, Server, create_app

ANTHROPIC = "sk-ant-own-0123456789abcdef"
OPENAI = "sk-own-0123456789abcdef"
KEY = {"x-api-key": ANTHROPIC}
BEARER = {"authorization": f"Bearer {OPENAI}"}


@pytest.fixture(scope="module")
def record() -> Iterator[tuple[Server, list[RecordedRequest]]]:
    """Return a running stand-in and the requests it has seen."""
    seen: list[RecordedRequest] = []
    accounts = Accounts(own=frozenset({ANTHROPIC, OPENAI}))
    with Server(accounts, observer=seen.append, chunk_delay=0.001) as server:
        yield server, seen


@pytest.fixture
def seen(record: tuple[Server, list[RecordedRequest]]) -> list[RecordedRequest]:
    """Return what the stand-in has seen since the test began."""
    record[1].clear()
    return record[1]


@pytest.fixture(scope="module")
def http(record: tuple[Server, list[RecordedRequest]]) -> Iterator[httpx.Client]:
    """Return a client for the stand-in."""
    with httpx.Client(base_url=record[0].url) as http:
        yield http


def test_observer_sees_what_came(http: httpx.Client, seen: list[RecordedRequest]) -> None:
    """The observer gets path and query undecoded, and every header, repeated ones included."""
    http.get(
        "/anthropic/v1/mod%65ls?a=%20b&a",
        headers=[("X-Api-Key", ANTHROPIC), ("X-Twice", "1"), ("X-Twice", "2")],
    )
    (only,) = seen
    assert (only.provider, only.method, only.path, only.query) == (
        "anthropic",
        "GET",
        "/v1/mod%65ls",
        "a=%20b&a",
    )
    assert (only.credential_header, only.credential) == ("x-api-key", ANTHROPIC)
    assert only.all("X-Twice") == ["1", "2"]
    assert ("x-api-key", ANTHROPIC) in only.headers


@pytest.mark.parametrize(
    ("path", "provider", "rest", "status"),
    [
        ("/openai/v1/models", "openai", "/v1/models", 401),
        ("/openai", "openai", "", 401),
        ("/nobody/v1/models", "", "/nobody/v1/models", 404),
        ("/%6fpenai/v1/models", "", "/%6fpenai/v1/models", 404),
    ],
)
def test_observer_sees_rejected_requests(
    http: httpx.Client,
    seen: list[RecordedRequest],
    path: str,
    provider: str,
    rest: str,
    status: int,
) -> None:
    """Requests that are refused are recorded as well."""
    headers = {"authorization": "Bearer sk-someone-else"}
    answer = http.post(path, headers=headers, content=b"x" * 500_000)
    assert answer.status_code == status
    (only,) = seen
    assert (only.provider, only.path) == (provider, rest)
    assert only.credential == ("sk-someone-else" if provider else None)


def test_seen_can_be_printed(http: httpx.Client, seen: list[RecordedRequest]) -> None:
    """The record of a request doesn't show its credential when printed."""
    http.get("/openai/v1/models", headers=BEARER)
    assert OPENAI not in repr(seen)


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_doubled_header_is_refused(http: httpx.Client, header: str) -> None:
    """A right credential that came twice is refused over the wire."""
    value = ANTHROPIC if header == "x-api-key" else f"Bearer {ANTHROPIC}"
    url = "/anthropic/v1/models"
    assert http.get(url, headers=[(header, value)]).status_code == 200
    assert http.get(url, headers=[(header, value), (header, value)]).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "error"),
    [
        ("GET", "/anthropic/v1/none", KEY, 404, {"type": "not_found_error"}),
        ("GET", "/anthropic/v1/models/", KEY, 404, {"type": "not_found_error"}),
        ("PUT", "/anthropic/v1/models", KEY, 405, {"type": "invalid_request_error"}),
        (
            "POST",
            "/openai/v1/files",
            BEARER,
            404,
            {"type": "invalid_request_error", "message": "Invalid URL (POST /v1/files)"},
        ),
        ("PUT", "/openai/v1/models", BEARER, 405, {"code": "method_not_supported"}),
    ],
)
def test_unknown_route(
    http: httpx.Client,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    error: dict[str, str],
) -> None:
    """An unknown path or method gets the provider's own error, never a redirect."""
    answer = http.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"].items() >= error.items()


def test_large_octets_are_counted(http: httpx.Client) -> None:
    """A large body that isn't JSON is read to the end and answered with its size and hash."""
    chunk = bytes(range(256)) * 4096

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield chunk

    answer = http.post(
        "/anthropic/v1/messages",
        content=chunks(),
        headers={**KEY, "content-type": "application/octet-stream"},
    )
    assert answer.json() == {
        "bytes": 20 * len(chunk),
        "sha256": hashlib.sha256(chunk * 20).hexdigest(),
        "credential": "byok, sk-a...cdef in x-api-key",
    }


def test_a_large_body_that_is_not_json(http: httpx.Client) -> None:
    """A large body that isn't JSON gets the provider's 400."""
    content = b"{" + b"x" * 2_000_000 + b"}"
    answer = http.post("/anthropic/v1/messages", content=content, headers=KEY)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_slow_stream(http: httpx.Client) -> None:
    """A model called slow-N streams N pieces, a second apart, each sent when it is made."""
    call = {"model": "slow-2", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    began = time.monotonic()
    pieces: list[tuple[str, float]] = []
    with http.stream("POST", "/openai/v1/chat/completions", json=call, headers=BEARER) as answer:
        for line in answer.iter_lines():
            if '"delta":{"content":' in line:
                pieces.append((line, time.monotonic() - began))
    (first, early), (second, late) = pieces
    assert "Hello" in first
    assert "Tick 2 of 2" in second
    # The first may be late on a busy machine, but not as late as the second.
    assert late >= 0.9
    assert late - early > 0.2


async def test_bug_is_answered_without_its_text() -> None:
    """An exception in the stand-in names its type only, as its text could quote a header."""

    def observer(seen: RecordedRequest) -> None:
        raise ValueError(str(seen.headers))

    app = create_app(Accounts(), observer=observer)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://standin") as client:
        answer = await client.get("/openai/v1/models", headers=BEARER)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the stand-in failed: ValueError"}


def test_nothing_secret_is_logged(http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a success, a refusal nor a broken connection leaves a log line."""
    caplog.set_level(logging.DEBUG)
    call = {"model": "abort-midstream", "input": "hi", "stream": True}
    http.get("/openai/v1/models", headers=BEARER)
    http.get("/openai/v1/models", headers={"authorization": "Bearer sk-x"})
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/openai/v1/responses", json=call, headers=BEARER)
    assert not [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]


def test_names_are_free() -> None:
    """A mount has the name it is given, and one central key per name."""
    accounts = Accounts(central={"eu": "k"}, types={"eu": "openai"})
    assert [route.path for route in create_app(accounts).routes] == ["/eu"]  # type: ignore[attr-defined]


def test_words_are_counted_in_text_only() -> None:
    """Only text counts as words, at any depth; structure, identifiers and pictures do not."""
    deep: list[object] = ["deep down"]
    for _ in range(5000):
        deep = [deep]
    picture = {"type": "image", "source": {"type": "base64", "data": "a b c"}}
    assert count_words(deep, picture, {"role": "user", "content": "one two"}, None, 3) == 4


@pytest.mark.parametrize(
    "messages", [None, [], [1], [{"role": "user"}], [{"role": "user", "content": [{"text": 1}]}]]
)
def test_nothing_said(messages: object) -> None:
    """Messages without text are not an error; there is nothing to quote."""
    assert last_prompt(messages) == ""


@pytest.mark.parametrize("stream", [False, True], ids=["JSON", "stream"])
def test_compression(http: httpx.Client, stream: bool) -> None:
    """An answer is compressed for a client that accepts gzip, and for no other."""
    call = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    for accepted, encoding in (("br, gzip;q=0.5", "gzip"), ("identity", None)):
        headers = {**BEARER, "accept-encoding": accepted}
        answer = http.post("/openai/v1/chat/completions", headers=headers, json=call)
        assert answer.headers.get("content-encoding") == encoding
        assert "stand-in" in answer.text


def test_a_compressed_stream_is_not_held_back(http: httpx.Client) -> None:
    """Each event can be read when it is sent."""
    call = {"model": "slow-2", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    headers = {**BEARER, "accept-encoding": "gzip"}
    with http.stream("POST", "/openai/v1/chat/completions", headers=headers, json=call) as answer:
        arrived = [(time.monotonic(), line) for line in answer.iter_lines() if "content" in line]
    first = next(at for at, line in arrived if "Hello" in line)
    last = next(at for at, line in arrived if "Tick 2" in line)
    assert last - first > 0.2
