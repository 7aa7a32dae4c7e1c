"""The stand-in's Responses API over a WebSocket."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.provider import Accounts, RecordedRequest, Server

KEY = "sk-own-0123456789abcdef"
TOKEN = "eyJhbGciOiJub25lIn0.e30.c2ln"
BEARER = {"Authorization": f"Bearer {KEY}"}
CREATE: dict[str, Any] = {"type": "response.create", "model": "gpt-5", "input": "Hello"}


@pytest.fixture(scope="module")
def record() -> Iterator[tuple[Server, list[RecordedRequest]]]:
    """Return a running stand-in and the requests it has seen."""
    seen: list[RecordedRequest] = []
    accounts = Accounts(own=frozenset({KEY, TOKEN}))
    with Server(accounts, observer=seen.append, chunk_delay=0.001) as server:
        yield server, seen


@pytest.fixture
def url(record: tuple[Server, list[RecordedRequest]]) -> str:
    """Return the stand-in's base URL for WebSockets."""
    return record[0].url.replace("http", "ws", 1)


@pytest.fixture
def socket(url: str) -> Iterator[ClientConnection]:
    """An open socket to OpenAI's."""
    with connect(f"{url}/openai/v1/responses", additional_headers=BEARER) as socket:
        yield socket


def _ask(socket: ClientConnection, **call: Any) -> list[dict[str, Any]]:
    """Send a call and return the events up to the one that ends it."""
    socket.send(json.dumps({**CREATE, **call}))
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] not in ("response.completed", "error"):
        events.append(json.loads(socket.recv(timeout=60)))
    return events


def test_an_answer_is_streamed(socket: ClientConnection) -> None:
    """The events are those of the stream over HTTP, numbered from zero, one message each."""
    events = _ask(socket)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    pieces = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert len(pieces) > 3
    assert "".join(pieces).startswith("Hello from the stand-in provider. Credential: byok")


def test_a_socket_answers_again_and_again(socket: ClientConnection) -> None:
    """Further calls, also after a wrong one, are answered on the same socket."""
    for text in ("no JSON", "[]", '{"type": "session.update"}', '{"type": "response.create"}'):
        socket.send(text)
        error = json.loads(socket.recv(timeout=60))
        assert (error["type"], error["status"]) == ("error", 400)
    assert _ask(socket)[-1]["response"]["status"] == "completed"
    assert _ask(socket)[-1]["response"]["status"] == "completed"


def test_a_warming_call_says_nothing(socket: ClientConnection) -> None:
    """With `generate: false`, as Codex begins, the response is complete and empty."""
    events = _ask(socket, generate=False)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    assert events[-1]["response"]["output"] == []


@pytest.mark.parametrize(("model", "status"), [("fail-429", 429), ("error-midstream", 500)])
def test_a_model_that_fails(socket: ClientConnection, model: str, status: int) -> None:
    """An error is an event with the status that it would have over HTTP."""
    last = _ask(socket, model=model)[-1]
    assert (last["type"], last["status"]) == ("error", status)
    assert last["error"]["message"]


def test_a_model_that_breaks_off(socket: ClientConnection) -> None:
    """The socket is closed in the middle of an answer."""
    with pytest.raises(ConnectionClosed):
        _ask(socket, model="abort-midstream")


def test_chatgpt_has_it_too(url: str) -> None:
    """The path of Codex's own back end takes a ChatGPT token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with connect(f"{url}/chatgpt/backend-api/codex/responses", additional_headers=headers) as it:
        assert _ask(it)[-1]["type"] == "response.completed"


def test_the_observer_sees_the_handshake(
    record: tuple[Server, list[RecordedRequest]], url: str
) -> None:
    """A handshake is seen as the GET that it is, with its credential, and says who was let in."""
    _, seen = record
    seen.clear()
    with connect(f"{url}/openai/v1/responses?a=b", additional_headers=BEARER) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-demo-credential-kind"] == "byok"
    (only,) = seen
    assert (only.method, only.path, only.query) == ("GET", "/v1/responses", "a=b")
    assert (only.credential_header, only.credential) == ("authorization", KEY)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-wrong-0123456789"}])
def test_no_socket_without_a_right_credential(url: str, headers: dict[str, str]) -> None:
    """The handshake is refused with the provider's 401."""
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(f"{url}/openai/v1/responses", additional_headers=headers),
    ):
        pass
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body or b"")["error"]["type"]


def test_a_get_without_upgrade(record: tuple[Server, list[RecordedRequest]]) -> None:
    """A plain GET gets 405, as from OpenAI."""
    answer = httpx.get(f"{record[0].url}/openai/v1/responses", headers=BEARER)
    assert answer.status_code == 405
    assert answer.json()["error"]["message"] == "Invalid URL (GET /v1/responses)"


def test_a_compressed_body_is_answered(record: tuple[Server, list[RecordedRequest]]) -> None:
    """A body that the stand-in can't read, as Codex's for ChatGPT, gets a stream all the same."""
    answer = httpx.post(
        f"{record[0].url}/chatgpt/backend-api/codex/responses",
        headers={
            "authorization": f"Bearer {TOKEN}",
            "content-type": "application/json",
            "content-encoding": "zstd",
            "accept": "text/event-stream",
        },
        content=b"\x28\xb5\x2f\xfd" + bytes(60),
    )
    assert answer.status_code == 200
    assert "response.completed" in answer.text
    assert "64 bytes in zstd" in answer.text


def test_chatgpt_says_where_an_account_is(record: tuple[Server, list[RecordedRequest]]) -> None:
    """Codex gets the account that it asked for, before it asks a model."""
    answer = httpx.get(
        f"{record[0].url}/chatgpt/backend-api/wham/accounts/check",
        headers={"authorization": f"Bearer {TOKEN}", "chatgpt-account-id": "account-1"},
    )
    (account,) = answer.json()["accounts"]
    assert account["id"] == "account-1"
    assert account["workspace_backend_origin"] == "https://chatgpt.com"
