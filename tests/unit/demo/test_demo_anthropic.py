"""The stand-in behind Anthropic's own SDK."""

from collections.abc import AsyncIterator, Iterator

import anthropic
import httpx
import pytest
from anthropic.types import Message, MessageParam, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.support.provider import Accounts, Server

ASK: list[MessageParam] = [{"role": "user", "content": "What is the time?"}]

CENTRAL = "sk-ant-central-0123456789"
OWN = "sk-ant-own-0123456789abcdef"
ACCOUNTS = Accounts(central={"anthropic": CENTRAL}, own=frozenset({OWN}))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Return a running stand-in."""
    with Server(ACCOUNTS, chunk_delay=0.001) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    """Return a client without an SDK."""
    with httpx.Client(base_url=server.url) as http:
        yield http


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[anthropic.Anthropic]:
    """Return a client with the central key."""
    with anthropic.Anthropic(
        api_key=CENTRAL, base_url=f"{server.url}/anthropic", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def aclient(server: Server) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Return an async client with an own key, as a Bearer token."""
    async with anthropic.AsyncAnthropic(
        auth_token=OWN, base_url=f"{server.url}/anthropic", max_retries=0
    ) as client:
        yield client


def test_message_says_which_credential(client: anthropic.Anthropic) -> None:
    """The text names the credential, masked, its header and kind, and quotes the user."""
    message = client.messages.create(model="claude-x", max_tokens=9, messages=ASK)
    assert message.content[0].type == "text"
    assert message.content[0].text == (
        "Hello from the stand-in provider. Credential: centralized, sk-a...6789 in authorization."
        " You said: What is the time?"
    )
    assert (message.model, message.stop_reason) == ("claude-x", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (4, 16)
    assert message._request_id is not None
    assert message._request_id.startswith("req_")


def test_headers_say_which_credential(client: anthropic.Anthropic) -> None:
    """The same facts come in headers, for answers that have no text."""
    headers = client.models.with_raw_response.list().headers
    assert headers["x-demo-credential-kind"] == "centralized"
    assert headers["x-demo-credential-hint"] == "sk-a...6789"
    # Since its version 2 the SDK sends an API key like an OAuth token.
    assert headers["x-demo-credential-header"] == "authorization"


def test_key_in_x_api_key(http: httpx.Client) -> None:
    """A key in Anthropic's own header is accepted, and reported there."""
    answer = http.post(
        "/anthropic/v1/messages",
        json={"model": "claude-x", "max_tokens": 9, "messages": ASK},
        headers={"x-api-key": CENTRAL},
    )
    assert "centralized, sk-a...6789 in x-api-key. " in answer.json()["content"][0]["text"]
    assert answer.headers["x-demo-credential-header"] == "x-api-key"


async def test_async_message_with_own_token(aclient: anthropic.AsyncAnthropic) -> None:
    """A Bearer token of the user is accepted and reported as such."""
    message = await aclient.messages.create(model="claude-x", max_tokens=9, messages=ASK)
    assert message.content[0].type == "text"
    assert "byok, sk-a...cdef in authorization" in message.content[0].text


def test_stream_adds_up_to_the_message(client: anthropic.Anthropic) -> None:
    """The SDK's accumulator makes of the stream what the JSON answer says."""
    whole = client.messages.create(model="claude-x", max_tokens=9, messages=ASK)
    with client.messages.stream(model="claude-x", max_tokens=9, messages=ASK) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces) == final.content[0].text == whole.content[0].text  # type: ignore[union-attr]
    assert final.usage.model_dump() == whole.usage.model_dump()
    assert final.stop_reason == "end_turn"


async def test_async_stream(aclient: anthropic.AsyncAnthropic) -> None:
    """The async SDK reads the stream too, and sees the events in Anthropic's order."""
    stream = await aclient.messages.create(
        model="claude-x", max_tokens=9, messages=ASK, stream=True
    )
    kinds = [event.type async for event in stream]
    deltas = kinds.count("content_block_delta")
    assert deltas > 3
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_stream_on_the_wire(http: httpx.Client) -> None:
    """Events carry their name, and a ping comes before the text."""
    call = {"model": "m", "max_tokens": 1, "messages": ASK, "stream": True}
    answer = http.post(
        "/anthropic/v1/messages",
        json=call,
        headers={"x-api-key": OWN},
    )
    names = [line for line in answer.text.splitlines() if line.startswith("event: ")]
    assert names[:3] == ["event: message_start", "event: content_block_start", "event: ping"]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-demo-credential-kind"] == "byok"


def test_answers_fit_the_types_exactly(http: httpx.Client) -> None:
    """Answers and events validate against the SDK's types, which its own parser doesn't check."""
    headers = {"x-api-key": OWN}
    call = {"model": "m", "max_tokens": 1, "messages": ASK}
    answer = http.post("/anthropic/v1/messages", json=call, headers=headers)
    Message.model_validate_json(answer.content)
    streamed = http.post("/anthropic/v1/messages", json={**call, "stream": True}, headers=headers)
    data = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: ")]
    events: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
    kinds = [events.validate_json(line).type for line in data if line != '{"type":"ping"}']
    assert kinds[-1] == "message_stop"
    for model in http.get("/anthropic/v1/models", headers=headers).json()["data"]:
        ModelInfo.model_validate(model)


def test_count_tokens_agrees_with_usage(client: anthropic.Anthropic) -> None:
    """Counting tells the number that the message is then charged, and depends on the input."""
    long: list[MessageParam] = [
        {"role": "user", "content": [{"type": "text", "text": "one two three"}]},
        {"role": "assistant", "content": "four"},
        {"role": "user", "content": "five"},
    ]
    count = client.messages.count_tokens(model="claude-x", messages=long, system="six seven")
    message = client.messages.create(
        model="claude-x", max_tokens=9, messages=long, system="six seven"
    )
    assert count.input_tokens == message.usage.input_tokens == 7


def test_last_text_of_the_user_is_quoted(client: anthropic.Anthropic) -> None:
    """An agent's reminders, which come first, don't hide the user's own words."""
    message = client.messages.create(
        model="claude-x",
        max_tokens=9,
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "remember"}, {"type": "text", "text": "hi"}],
            }
        ],
    )
    assert message.content[0].text.endswith("You said: hi")  # type: ignore[union-attr]


def test_models(client: anthropic.Anthropic) -> None:
    """Models are listed and found by name, and an unknown one is not found."""
    names = [model.id for model in client.models.list()]
    assert client.models.retrieve(names[0]).id == names[0]
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("claude-none")
    assert caught.value.type == "not_found_error"


def test_event_logging(http: httpx.Client) -> None:
    """Claude Code's event batch is accepted."""
    answer = http.post(
        "/anthropic/api/event_logging/batch",
        json={"events": [{}, {}]},
        headers={"x-api-key": OWN},
    )
    assert answer.json() == {"accepted_count": 2, "rejected_count": 0}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "x-api-key header is required"),
        ({"x-api-key": "sk-ant-wrong"}, "invalid x-api-key"),
        ({"x-api-key": OWN, "authorization": "Bearer x"}, "invalid x-api-key"),
        ({"authorization": "Bearer sk-ant-wrong"}, "invalid bearer token"),
    ],
)
def test_wrong_credential(http: httpx.Client, headers: dict[str, str], message: str) -> None:
    """A wrong, missing or doubled credential gets Anthropic's 401, and no credential headers."""
    answer = http.post("/anthropic/v1/messages", headers=headers, json={})
    assert answer.status_code == 401
    assert answer.json() == {
        "type": "error",
        "error": {"type": "authentication_error", "message": message},
        "request_id": answer.headers["request-id"],
    }
    assert "x-demo-credential-kind" not in answer.headers


def test_sdk_raises_its_authentication_error(server: Server) -> None:
    """The SDK recognises the 401 as its own kind of error."""
    with (
        anthropic.Anthropic(
            api_key="sk-ant-wrong", base_url=f"{server.url}/anthropic", max_retries=0
        ) as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(model="m", max_tokens=1, messages=ASK)
    assert caught.value.type == "authentication_error"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "The request body is not valid JSON"),
        ("[" * 100_000, "The request body is not valid JSON"),
        ("[]", "The request body is not valid JSON"),
        ("{}", "model: Field required"),
        ('{"model": 1}', "model: Input should be a valid string"),
        ('{"model": "m", "messages": []}', "messages: Input should be a valid list"),
        ('{"model": "m", "messages": [1]}', "max_tokens: Field required"),
    ],
)
def test_malformed_body(http: httpx.Client, body: str, message: str) -> None:
    """A body that isn't a call gets Anthropic's 400, which says what is wrong."""
    answer = http.post(
        "/anthropic/v1/messages",
        content=body,
        headers={"x-api-key": OWN},
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == {"type": "invalid_request_error", "message": message}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_failures_on_demand(client: anthropic.Anthropic, status: int, kind: str) -> None:
    """A model called fail-N fails with that status in Anthropic's shape."""
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model=f"fail-{status}", max_tokens=1, messages=ASK)
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)


def test_error_midstream(client: anthropic.Anthropic) -> None:
    """A stream can turn into Anthropic's overloaded error after some text."""
    texts: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model="error-midstream", max_tokens=1, messages=ASK) as stream,
    ):
        texts.extend(stream.text_stream)
    assert texts
    assert caught.value.type == "overloaded_error"


def test_abort_midstream(http: httpx.Client) -> None:
    """A stream can break after exactly three events, without a proper end."""
    call = {"model": "abort-midstream", "max_tokens": 1, "messages": ASK, "stream": True}
    received: list[str] = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        http.stream(
            "POST",
            "/anthropic/v1/messages",
            json=call,
            headers={"x-api-key": OWN},
        ) as answer,
    ):
        received.extend(answer.iter_text())
    assert "".join(received).count("event: ") == 3
