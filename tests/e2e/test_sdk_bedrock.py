"""Bedrock's Mantle endpoint through the gateway, by the SDKs of Anthropic and OpenAI."""

from typing import Any

import anthropic
import openai
import pytest

from tests.support.every_type import ACCESS_KEY, OWN, is_signed
from tests.support.pair import Pair
from tests.support.requests import leaks

ASK: Any = [{"role": "user", "content": "What is the weather in Ghent?"}]
MODEL = "anthropic.claude-opus-4-8"
GOVERNANCE = "X-Coder-AI-Governance-Token"
MODES = ["centralized", "byok"]


@pytest.fixture(scope="module")
def token(every_type: Pair) -> str:
    """A token of alice."""
    return every_type.create_token("alice")


def _options(pair: Pair, token: str, mode: str) -> dict[str, Any]:
    options: dict[str, Any] = {"base_url": f"{pair.url}/bedrock", "max_retries": 0}
    if mode == "centralized":
        return options | {"api_key": token}
    return options | {"api_key": OWN["bedrock"], "default_headers": {GOVERNANCE: token}}


def _check(pair: Pair, token: str, mode: str) -> None:
    seen = pair.provider.take()
    assert seen
    for one in seen:
        assert not leaks(one, [token])
        if mode == "centralized":
            assert one.credential == ACCESS_KEY
            assert is_signed(one, pair.provider.server.url)
        else:
            assert one.credential == OWN["bedrock"]
            assert not [name for name, _ in one.headers if name.startswith("x-amz-")]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["mantle", "plain"])
def test_anthropics_clients(every_type: Pair, token: str, mode: str, kind: str) -> None:
    """Anthropic's client for Mantle sends a Bearer, and the plain client sends X-Api-Key."""
    every_type.provider.take()
    options = _options(every_type, token, mode)
    client: Any = (
        anthropic.AnthropicBedrockMantle(aws_region="eu-central-1", **options)
        if kind == "mantle"
        else anthropic.Anthropic(**options)
    )
    with client:
        answer = client.messages.create(model=MODEL, max_tokens=99, messages=ASK)
        assert "Ghent" in answer.content[0].text
        with client.messages.stream(model=MODEL, max_tokens=99, messages=ASK) as stream:
            assert "Ghent" in stream.get_final_text()
    _check(every_type, token, mode)


@pytest.mark.parametrize("mode", MODES)
def test_openais_client(every_type: Pair, token: str, mode: str) -> None:
    """OpenAI's client has chat and responses, with the version in the base URL as usual."""
    every_type.provider.take()
    options = _options(every_type, token, mode)
    options["base_url"] += "/v1"
    with openai.OpenAI(**options) as client:
        answer = client.chat.completions.create(model="openai.gpt-oss-120b", messages=ASK)
        assert "Ghent" in (answer.choices[0].message.content or "")
        events = list(client.responses.create(model="m", input="Ghent?", stream=True))
        assert events[-1].type == "response.completed"
        assert client.models.list().data
    _check(every_type, token, mode)


def test_refusals_raise_both_sdks_classes(every_type: Pair, token: str) -> None:
    """A refusal has one body, which raises the right class in both SDKs."""
    options = _options(every_type, "no-coder-token", "centralized")
    with (
        anthropic.Anthropic(**options) as claude,
        pytest.raises(anthropic.AuthenticationError, match="no Coder token"),
    ):
        claude.messages.create(model=MODEL, max_tokens=9, messages=ASK)
    options["base_url"] += "/v1"
    with (
        openai.OpenAI(**options) as gpt,
        pytest.raises(openai.AuthenticationError, match="no Coder token") as caught,
    ):
        gpt.models.list()
    assert caught.value.code == "token_invalid"
