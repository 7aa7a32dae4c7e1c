"""Anthropic's own Python SDK through the gateway."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, SUBSCRIPTION, Pair
from tests.support.requests import CREDENTIAL_HEADERS, leaks

MODEL = "claude-test"
"""A name that no SDK will ever warn about."""
LISTED_MODEL = "claude-opus-4-5"
ASK: Any = [{"role": "user", "content": "What is the weather in Ghent?"}]
CALL: Any = {"model": MODEL, "max_tokens": 64, "messages": ASK}
GOVERNANCE = "X-Coder-AI-Governance-Token"

SETUPS = {
    # How the client gets its credential, and what the provider has to see.
    "centralized api_key": ("api_key", None, ("x-api-key", CENTRAL_KEYS["anthropic"])),
    "centralized auth_token": ("auth_token", None, ("x-api-key", CENTRAL_KEYS["anthropic"])),
    # The SDK sends an API key as a Bearer since 2.0, and it has to arrive as it was sent.
    "byok api_key": (
        "api_key",
        OWN_KEYS["anthropic"],
        ("authorization", f"Bearer {OWN_KEYS['anthropic']}"),
    ),
    "byok auth_token": ("auth_token", SUBSCRIPTION, ("authorization", f"Bearer {SUBSCRIPTION}")),
}


@pytest.fixture(scope="module")
def token(gateway: Pair) -> str:
    """A token of alice."""
    return gateway.create_token("alice")


@pytest.fixture(autouse=True)
def _no_key_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def _options(pair: Pair, token: str, setup: str) -> dict[str, Any]:
    argument, own, _ = SETUPS[setup]
    options: dict[str, Any] = {"base_url": f"{pair.url}/anthropic", "max_retries": 0}
    if own is None:
        return options | {argument: token}
    return options | {argument: own, "default_headers": {GOVERNANCE: token}}


@pytest.fixture(params=list(SETUPS))
def setup(request: pytest.FixtureRequest) -> str:
    """A way to set the client up."""
    setup: str = request.param
    return setup


@pytest.fixture
def client(gateway: Pair, token: str, setup: str) -> Iterator[anthropic.Anthropic]:
    """A client as set up in the README; afterwards the provider must have seen one credential."""
    gateway.provider.take()
    with anthropic.Anthropic(**_options(gateway, token, setup)) as client:
        yield client
    seen = gateway.provider.take()
    assert seen
    for one in seen:
        found = [pair for pair in one.headers if pair[0] in CREDENTIAL_HEADERS]
        assert found == [SETUPS[setup][2]]
        assert leaks(one, [token]) == []


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content)


def test_message(client: anthropic.Anthropic, setup: str) -> None:
    """A message is answered in one piece, with the right credential."""
    text = _text(client.messages.create(**CALL))
    assert f"Credential: {setup.split()[0]}" in text
    assert "Ghent" in text


def test_message_stream(client: anthropic.Anthropic) -> None:
    """The stream helper receives text in pieces, and the final message is complete."""
    with client.messages.stream(**CALL) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces) == _text(final)
    assert final.stop_reason == "end_turn"


def test_raw_events(client: anthropic.Anthropic) -> None:
    """The events of a stream arrive in Anthropic's order."""
    kinds = [event.type for event in client.messages.create(**CALL, stream=True)]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert "content_block_delta" in kinds


def test_count_tokens_and_models(client: anthropic.Anthropic) -> None:
    """Counting tokens, the list of models, and a single model work as well as messages."""
    assert client.messages.count_tokens(model=MODEL, messages=ASK).input_tokens > 0
    assert LISTED_MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(LISTED_MODEL).id == LISTED_MODEL


async def test_async(gateway: Pair, token: str, setup: str) -> None:
    """The asynchronous client works in one piece and streamed."""
    async with anthropic.AsyncAnthropic(**_options(gateway, token, setup)) as client:
        assert "Ghent" in _text(await client.messages.create(**CALL))
        async with client.messages.stream(**CALL) as stream:
            pieces = [piece async for piece in stream.text_stream]
        assert "Ghent" in "".join(pieces)
        assert [model.id async for model in client.models.list()]


@pytest.mark.parametrize("argument", ["api_key", "auth_token"])
def test_a_bad_token_raises_authentication_error(gateway: Pair, argument: str) -> None:
    """A bad token raises the SDK's own class with our text, without retries."""
    gateway.provider.take()
    options: dict[str, Any] = {argument: "sk-ant-no-coder-token", "max_retries": 3}
    with (
        anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", **options) as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(**CALL)
    assert "no Coder token" in caught.value.message
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
    assert gateway.provider.take() == []


async def test_a_bad_token_raises_in_async_streams_too(gateway: Pair) -> None:
    """The error is raised when the stream is opened."""
    options: dict[str, Any] = _options(gateway, "sk-ant-no-coder-token", "centralized api_key")
    async with anthropic.AsyncAnthropic(**options) as client:
        with pytest.raises(anthropic.AuthenticationError, match="no Coder token"):
            async with client.messages.stream(**CALL):
                pass


def test_byok_off_raises_permission_denied_error(gateway_without_byok: Pair) -> None:
    """Own keys and subscriptions are refused if BYOK is off, and the central key is used."""
    pair = gateway_without_byok
    token = pair.create_token("alice")
    for setup in ("byok api_key", "byok auth_token"):
        with (
            anthropic.Anthropic(**_options(pair, token, setup)) as client,
            pytest.raises(anthropic.PermissionDeniedError, match="allow_byok") as caught,
        ):
            client.messages.create(**CALL)
        assert caught.value.type == "permission_error"
    with anthropic.Anthropic(**_options(pair, token, "centralized auth_token")) as client:
        assert client.messages.create(**CALL).content


def test_an_unlisted_path_raises_not_found_error(client: anthropic.Anthropic) -> None:
    """Batches are not served, with a central key or with one's own."""
    with pytest.raises(anthropic.NotFoundError, match="route not supported: GET") as caught:
        client.messages.batches.list()
    assert "/anthropic/v1/messages/batches" in caught.value.message
    assert client.models.list().data
