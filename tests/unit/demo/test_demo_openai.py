"""The stand-in behind OpenAI's own SDK."""

from collections.abc import AsyncIterator, Iterable, Iterator

import httpx
import openai
import pytest
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessageParam,
)
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.support.provider import Accounts, Server

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the time?"}]
TEXT = (
    "Hello from the stand-in provider. Credential: centralized, sk-o...6789 in authorization."
    " You said: What is the time?"
)

CENTRAL = "sk-openai-central-0123456789"
OWN = "sk-own-0123456789abcdef"
CHATGPT = "eyJhbGciOi.own-0123456789"
COPILOT = "gho_own0123456789abcdef"
BEARER = {"authorization": f"Bearer {OWN}"}
ACCOUNTS = Accounts(central={"openai": CENTRAL}, own=frozenset({OWN, CHATGPT, COPILOT}))


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
def client(server: Server) -> Iterator[openai.OpenAI]:
    """Return a client with the central key."""
    with openai.OpenAI(
        api_key=CENTRAL, base_url=f"{server.url}/openai/v1", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def aclient(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    """Return an async client with the central key."""
    async with openai.AsyncOpenAI(
        api_key=CENTRAL, base_url=f"{server.url}/openai/v1", max_retries=0
    ) as client:
        yield client


def test_chat_says_which_credential(client: openai.OpenAI) -> None:
    """The text names the credential, and the usage counts the words of both sides."""
    answer = client.chat.completions.create(model="gpt-x", messages=ASK)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 16)
    assert answer.usage.total_tokens == 20
    assert answer._request_id is not None


def test_chat_stream(client: openai.OpenAI) -> None:
    """The chunks add up to the text; the first has the role, the last the reason to stop."""
    chunks = list(client.chat.completions.create(model="gpt-x", messages=ASK, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert len(chunks) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.usage for chunk in chunks} == {None}


async def test_async_chat_stream_with_usage(aclient: openai.AsyncOpenAI) -> None:
    """With include_usage the last chunk has the usage and no choices."""
    stream = await aclient.chat.completions.create(
        model="gpt-x", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 20


def test_chat_accumulator(client: openai.OpenAI) -> None:
    """The SDK's own accumulator accepts the chunks."""
    with client.chat.completions.stream(model="gpt-x", messages=ASK) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == TEXT


def test_chat_stream_on_the_wire(http: httpx.Client) -> None:
    """Chat events have no name, and the last one is [DONE]."""
    call = {"model": "m", "messages": ASK, "stream": True}
    answer = http.post("/openai/v1/chat/completions", json=call, headers=BEARER)
    lines = [line for line in answer.text.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


def test_response_says_which_credential(client: openai.OpenAI) -> None:
    """The Responses API gives the same text, from a plain string or from items."""
    plain = client.responses.create(model="gpt-x", input="What is the time?")
    items = client.responses.create(
        model="gpt-x",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "What is the time?"}]}],
        instructions="Be brief",
    )
    assert plain.output_text == items.output_text == TEXT
    assert plain.status == "completed"
    assert plain.usage is not None
    assert items.usage is not None
    assert (plain.usage.input_tokens, items.usage.input_tokens) == (4, 6)


def check_events(kinds: Iterable[str], numbers: Iterable[int]) -> None:
    """Assert that a Responses stream has all its events, in order and numbered."""
    kinds = list(kinds)
    deltas = kinds.count("response.output_text.delta")
    assert deltas > 3
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert list(numbers) == list(range(len(kinds)))


def test_response_stream(client: openai.OpenAI) -> None:
    """A streamed response has every event of the real one, numbered without a gap."""
    events = list(client.responses.create(model="gpt-x", input="hi", stream=True))
    check_events((e.type for e in events), (e.sequence_number for e in events))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text.endswith("You said: hi")


async def test_async_response_stream(aclient: openai.AsyncOpenAI) -> None:
    """The async SDK reads the same stream."""
    stream = await aclient.responses.create(model="gpt-x", input="hi", stream=True)
    events = [event async for event in stream]
    check_events((e.type for e in events), (e.sequence_number for e in events))


def test_response_accumulator(client: openai.OpenAI) -> None:
    """The SDK's own accumulator makes of the stream what the JSON answer says."""
    with client.responses.stream(model="gpt-x", input="What is the time?") as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == TEXT


def test_answers_fit_the_types_exactly(http: httpx.Client) -> None:
    """Answers and events validate against the SDK's types, which its own parser doesn't check."""

    def post(path: str, **call: object) -> httpx.Response:
        return http.post(f"/openai/v1/{path}", json={"model": "m", **call}, headers=BEARER)

    def events(answer: httpx.Response) -> list[str]:
        return [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]

    ChatCompletion.model_validate_json(post("chat/completions", messages=ASK).content)
    options = {"include_usage": True}
    chat = post("chat/completions", messages=ASK, stream=True, stream_options=options)
    chunks = [ChatCompletionChunk.model_validate_json(data) for data in events(chat)[:-1]]
    assert chunks[-1].usage is not None
    Response.model_validate_json(post("responses", input="hi").content)
    adapter: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
    for model in ("m", "error-midstream"):
        stream = post("responses", input="hi", stream=True, model=model)
        kinds = [adapter.validate_json(data).type for data in events(stream)]
        assert kinds[-1] == ("response.completed" if model == "m" else "error")


def test_stored_response(client: openai.OpenAI) -> None:
    """A response can be fetched and deleted by its id, and a foreign id is not found."""
    made = client.responses.create(model="gpt-x", input="hi")
    assert client.responses.retrieve(made.id).id == made.id
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("msg_1")


def test_conversation(client: openai.OpenAI) -> None:
    """A conversation can be made, with its metadata, and deleted."""
    made = client.conversations.create(metadata={"a": "b"})
    assert made.metadata == {"a": "b"}
    assert client.conversations.retrieve(made.id).id == made.id
    assert client.conversations.delete(made.id).deleted is True


def test_models(client: openai.OpenAI) -> None:
    """Models are listed and found by name, and an unknown one is not found."""
    names = [model.id for model in client.models.list()]
    assert client.models.retrieve(names[0]).id == names[0]
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-none")
    assert caught.value.code == "model_not_found"


def test_chatgpt(server: Server) -> None:
    """ChatGPT's back end has the Responses API under Codex's path, for a subscription's token."""
    with openai.OpenAI(
        api_key=CHATGPT, base_url=f"{server.url}/chatgpt/backend-api/codex", max_retries=0
    ) as client:
        events = list(client.responses.create(model="gpt-x", input="hi", stream=True))
        assert client.models.list().data
    assert events[-1].type == "response.completed"
    assert "byok, eyJh...6789 in authorization" in events[-1].response.output_text


def test_codex_model_list(http: httpx.Client) -> None:
    """Codex, which asks with its version, finds the key it reads."""
    answer = http.get(
        "/chatgpt/backend-api/codex/models?client_version=1",
        headers={"authorization": f"Bearer {CHATGPT}"},
    )
    assert answer.json()["models"] == []


def test_copilot(server: Server, http: httpx.Client) -> None:
    """Copilot has chat, responses and models without a version, and its ping."""
    with openai.OpenAI(api_key=COPILOT, base_url=f"{server.url}/copilot", max_retries=0) as client:
        chat = client.chat.completions.create(model="gpt-x", messages=ASK)
        assert "byok, gho_...cdef" in (chat.choices[0].message.content or "")
        assert "byok, gho_...cdef" in client.responses.create(model="m", input="hi").output_text
        assert client.models.list().data
    ping = http.get("/copilot/_ping", headers={"authorization": f"Bearer {COPILOT}"})
    assert ping.headers["x-demo-credential-kind"] == "byok"


def test_wrong_key(server: Server) -> None:
    """A wrong key gets OpenAI's 401, which shows it masked."""
    with (
        openai.OpenAI(
            api_key="sk-abcdefghijklmnop1234", base_url=f"{server.url}/openai/v1", max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert caught.value.body == {
        "message": "Incorrect API key provided: sk-a...1234.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


def test_missing_key(http: httpx.Client) -> None:
    """A request without a Bearer token gets its own kind of 401, whatever x-api-key has."""
    answer = http.get("/openai/v1/models", headers={"x-api-key": OWN})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] is None
    assert "didn't provide an API key" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", "{", None),
        ("chat/completions", "{}", "model"),
        ("chat/completions", '{"model": "m"}', "messages"),
        ("responses", '{"model": "m"}', "input"),
        ("responses", '"text"', None),
    ],
)
def test_malformed_body(http: httpx.Client, path: str, body: str, param: str | None) -> None:
    """A body that isn't a call gets OpenAI's 400, which names the parameter."""
    answer = http.post(
        f"/openai/v1/{path}",
        content=body,
        headers=BEARER,
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (429, "requests"),
        (500, "server_error"),
        (529, "server_error"),
    ],
)
def test_failures_on_demand(client: openai.OpenAI, status: int, kind: str) -> None:
    """A model called fail-N fails with that status in OpenAI's shape, in both APIs."""
    for ask in (
        lambda: client.responses.create(model=f"fail-{status}", input="hi", stream=True),
        lambda: client.chat.completions.create(model=f"fail-{status}", messages=ASK),
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            ask()
        assert (caught.value.status_code, caught.value.type) == (status, kind)
        assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)


def test_chat_error_midstream(client: openai.OpenAI) -> None:
    """A chat stream can turn into an error chunk after some text."""
    texts: list[str] = []
    stream = client.chat.completions.create(model="error-midstream", messages=ASK, stream=True)
    with pytest.raises(openai.APIError) as caught:
        texts.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert any(texts)
    assert caught.value.type == "server_error"


def test_response_error_midstream(client: openai.OpenAI) -> None:
    """A Responses stream can end in an error event with the next number."""
    events = list(client.responses.create(model="error-midstream", input="hi", stream=True))
    assert events[-1].type == "error"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-2].type == "response.output_text.delta"


@pytest.mark.parametrize(
    ("path", "rest"), [("chat/completions", {"messages": ASK}), ("responses", {"input": "hi"})]
)
def test_abort_midstream(http: httpx.Client, path: str, rest: dict[str, object]) -> None:
    """A stream can break after exactly three events; without one, the JSON breaks."""
    for stream, events in ((True, 3), (False, 0)):
        received: list[str] = []
        with (
            pytest.raises(httpx.RemoteProtocolError),
            http.stream(
                "POST",
                f"/openai/v1/{path}",
                json={"model": "abort-midstream", "stream": stream, **rest},
                headers=BEARER,
            ) as answer,
        ):
            received.extend(answer.iter_text())
        assert "".join(received).count("data: ") == events


def test_large_json_is_answered(http: httpx.Client) -> None:
    """A call of several megabytes is answered, and only its beginning is quoted."""
    call = {"messages": [{"role": "user", "content": "x" * 3_000_000}], "model": "gpt-x"}
    answer = http.post("/openai/v1/chat/completions", json=call, headers=BEARER)
    assert answer.json()["model"] == "gpt-x"
    text = answer.json()["choices"][0]["message"]["content"]
    assert text.endswith(f"You said: {'x' * 200}…")
