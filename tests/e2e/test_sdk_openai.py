"""OpenAI's own Python SDK through the gateway."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair
from tests.support.requests import leaks

ASK: Any = [{"role": "user", "content": "What is the weather in Ghent?"}]
GOVERNANCE = "X-Coder-AI-Governance-Token"
MODES = ["centralized", "byok"]


@pytest.fixture(scope="module")
def token(gateway: Pair) -> str:
    """A token of alice."""
    return gateway.create_token("alice")


def _options(pair: Pair, token: str, mode: str, name: str = "openai") -> dict[str, Any]:
    options: dict[str, Any] = {"base_url": f"{pair.url}/{name}/v1", "max_retries": 0}
    if mode == "centralized":
        return options | {"api_key": token}
    return options | {"api_key": OWN_KEYS[name], "default_headers": {GOVERNANCE: token}}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """The mode, which decides whose key is used."""
    mode: str = request.param
    return mode


@pytest.fixture
def client(gateway: Pair, token: str, mode: str) -> Iterator[openai.OpenAI]:
    """A client as set up in the README; afterwards the provider must have seen one credential."""
    gateway.provider.take()
    with openai.OpenAI(**_options(gateway, token, mode)) as client:
        yield client
    wanted = {"centralized": CENTRAL_KEYS["openai"], "byok": OWN_KEYS["openai"]}[mode]
    seen = gateway.provider.take()
    assert seen
    for one in seen:
        assert one.all("authorization") == [f"Bearer {wanted}"]
        assert leaks(one, [token]) == []


def test_chat_completion(client: openai.OpenAI, mode: str) -> None:
    """A chat completion is answered in one piece, with the right credential."""
    answer = client.chat.completions.create(model="gpt-5", messages=ASK)
    text = answer.choices[0].message.content or ""
    assert f"Credential: {mode}" in text
    assert "Ghent" in text


def test_chat_completion_stream(client: openai.OpenAI) -> None:
    """A streamed answer arrives in chunks, with the usage at the end."""
    chunks = list(
        client.chat.completions.create(
            model="gpt-5", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Ghent" in text
    assert len(chunks) > 5
    assert chunks[-1].usage is not None


def test_response(client: openai.OpenAI, mode: str) -> None:
    """The Responses API answers in one piece."""
    answer = client.responses.create(model="gpt-5", input="What is the weather in Ghent?")
    assert f"Credential: {mode}" in answer.output_text
    assert answer.status == "completed"


def test_response_stream(client: openai.OpenAI) -> None:
    """The Responses API sends events, from created to completed."""
    with client.responses.stream(model="gpt-5", input="Ghent?") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") > 2
    assert "Ghent" in final.output_text


def test_models(client: openai.OpenAI) -> None:
    """The models can be listed, and one of them retrieved."""
    assert "gpt-5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-5").id == "gpt-5"


async def test_async(gateway: Pair, token: str, mode: str) -> None:
    """The asynchronous client works in one piece, streamed, and for lists."""
    async with openai.AsyncOpenAI(**_options(gateway, token, mode)) as client:
        answer = await client.chat.completions.create(model="gpt-5", messages=ASK)
        assert f"Credential: {mode}" in (answer.choices[0].message.content or "")
        stream = await client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
        pieces = [c.choices[0].delta.content or "" async for c in stream if c.choices]
        assert "Ghent" in "".join(pieces)
        events = await client.responses.create(model="gpt-5", input="Ghent?", stream=True)
        assert [event.type async for event in events][-1] == "response.completed"
        assert [model.id async for model in await client.models.list()]


def test_a_chatgpt_subscription(gateway: Pair, token: str) -> None:
    """The user's own ChatGPT token reaches ChatGPT's back end, together with the account."""
    options = _options(gateway, token, "byok", "chatgpt")
    options["default_headers"]["chatgpt-account-id"] = "account-1"
    gateway.provider.take()
    with openai.OpenAI(**options) as client:
        answer = client.responses.create(model="gpt-5-codex", input="Hello")
    assert "Credential: byok" in answer.output_text
    (seen,) = gateway.provider.take()
    assert seen.path == "/backend-api/codex/responses"
    assert seen.all("chatgpt-account-id") == ["account-1"]


def test_a_bad_token_raises_authentication_error(gateway: Pair) -> None:
    """A bad token raises the SDK's own class with our text, without retries."""
    gateway.provider.take()
    options = _options(gateway, "sk-not-a-coder-token", "centralized") | {"max_retries": 3}
    with openai.OpenAI(**options) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    assert "no Coder token" in caught.value.message
    assert caught.value.code == "token_invalid"
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
    assert gateway.provider.take() == []


async def test_a_bad_token_raises_in_async_streams_too(gateway: Pair) -> None:
    """The error is raised when the stream is requested, not in the middle of it."""
    options = _options(gateway, "sk-not-a-coder-token", "centralized")
    async with openai.AsyncOpenAI(**options) as client:
        with pytest.raises(openai.AuthenticationError, match="no Coder token"):
            await client.responses.create(model="gpt-5", input="x", stream=True)


def test_no_central_key_raises_authentication_error(gateway: Pair, token: str) -> None:
    """The error of a provider for subscriptions only says that it has no central key."""
    with (
        openai.OpenAI(**_options(gateway, token, "centralized", "chatgpt")) as client,
        pytest.raises(openai.AuthenticationError, match='Provider "chatgpt" has no central key'),
    ):
        client.responses.create(model="gpt-5-codex", input="Hello")


def test_byok_off_raises_permission_denied_error(gateway_without_byok: Pair) -> None:
    """An own key is refused if BYOK is off, and the central key is used."""
    pair = gateway_without_byok
    token = pair.create_token("alice")
    with openai.OpenAI(**_options(pair, token, "byok")) as client:
        with pytest.raises(openai.PermissionDeniedError, match="BYOK") as caught:
            client.chat.completions.create(model="gpt-5", messages=ASK)
        assert "allow_byok" in caught.value.message
    with openai.OpenAI(**_options(pair, token, "centralized")) as client:
        assert client.models.list().data


def test_an_unlisted_path_raises_not_found_error(client: openai.OpenAI, gateway: Pair) -> None:
    """Paths on which a central key could do harm are not served."""
    with pytest.raises(openai.NotFoundError, match="route not supported: GET /openai/v1/files"):
        client.files.list()
    with pytest.raises(openai.NotFoundError, match="GET /openai/v1/batches"):
        client.batches.list()
    assert client.models.list().data


def test_an_answer_of_envoy_itself_is_read_by_the_sdk(gateway: Pair, token: str) -> None:
    """A refusal on a path that Envoy itself refuses is JSON too, and raises NotFoundError."""
    options = _options(gateway, token, "centralized")
    with (
        openai.OpenAI(**options) as client,
        pytest.raises(openai.NotFoundError, match="An escaped slash"),
    ):
        client.models.retrieve("back\\slash")
