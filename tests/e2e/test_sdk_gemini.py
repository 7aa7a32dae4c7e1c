"""The native Gemini API through the gateway, by Google's own SDK."""

from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.support.every_type import CENTRAL, OWN
from tests.support.pair import Pair
from tests.support.requests import leaks

GOVERNANCE = "X-Coder-AI-Governance-Token"
MODEL = "gemini-2.5-flash"
MODES = ["centralized", "byok"]


@pytest.fixture(scope="module")
def token(every_type: Pair) -> str:
    """A token of alice."""
    return every_type.create_token("alice")


def _client(pair: Pair, key: str, headers: dict[str, str] | None = None) -> genai.Client:
    options = types.HttpOptions(base_url=f"{pair.url}/gemini", headers=headers)
    return genai.Client(api_key=key, http_options=options)


def _for(pair: Pair, token: str, mode: str) -> genai.Client:
    if mode == "centralized":
        return _client(pair, token)
    return _client(pair, OWN["gemini"], {GOVERNANCE: token})


def _check(pair: Pair, token: str, mode: str) -> list[str]:
    seen = pair.provider.take()
    assert seen
    wanted = {"centralized": CENTRAL, "byok": OWN}[mode]["gemini"]
    for one in seen:
        assert one.all("x-goog-api-key") == [wanted]
        assert not one.all("authorization")
        assert not leaks(one, [token])
    return [one.path for one in seen]


@pytest.mark.parametrize("mode", MODES)
def test_what_the_sdk_can_do(every_type: Pair, token: str, mode: str) -> None:
    """The SDK generates in one piece and as a stream, counts tokens, embeds and lists models."""
    every_type.provider.take()
    with _for(every_type, token, mode) as client:
        answer = client.models.generate_content(model=MODEL, contents="Weather in Ghent?")
        assert f"Credential: {mode}" in (answer.text or "")
        stream = client.models.generate_content_stream(model=MODEL, contents="Ghent?")
        pieces = [chunk.text or "" for chunk in stream]
        assert len(pieces) > 3
        assert "Ghent" in "".join(pieces)
        assert client.models.count_tokens(model=MODEL, contents="a b c").total_tokens == 3
        embedding = client.models.embed_content(model="gemini-embedding-001", contents="x")
        assert embedding.embeddings
        assert [model.name for model in client.models.list()]
        assert client.models.get(model=MODEL).name == f"models/{MODEL}"
    paths = _check(every_type, token, mode)
    assert any(path.endswith(f"/models/{MODEL}:streamGenerateContent") for path in paths)


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # the SDK's own doing
@pytest.mark.parametrize("mode", MODES)
async def test_the_asynchronous_client(every_type: Pair, token: str, mode: str) -> None:
    """The SDK's asynchronous client streams too, over its other HTTP library."""
    every_type.provider.take()
    async with _for(every_type, token, mode).aio as client:
        stream = await client.models.generate_content_stream(model=MODEL, contents="Ghent?")
        pieces = [chunk.text or "" async for chunk in stream]
        assert "Ghent" in "".join(pieces)
    _check(every_type, token, mode)


@pytest.mark.parametrize(
    ("key", "call", "code", "status"),
    [
        ("no-coder-token", "generate", 401, "UNAUTHENTICATED"),
        (None, "files", 404, "NOT_FOUND"),
    ],
)
def test_refusals_raise_the_sdks_own_class(
    every_type: Pair, token: str, key: str | None, call: str, code: int, status: str
) -> None:
    """A refusal raises the SDK's own class, with Google's status and our text."""
    with _client(every_type, key or token) as client:
        calls: dict[str, Any] = {
            "generate": lambda: client.models.generate_content(model=MODEL, contents="x"),
            "files": lambda: list(client.files.list()),
        }
        with pytest.raises(errors.ClientError) as caught:
            calls[call]()
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.message


def test_an_own_key_where_byok_is_off(every_type_without_byok: Pair) -> None:
    """An own key is a 403 that names the setting if BYOK is off."""
    pair = every_type_without_byok
    with (
        _client(pair, OWN["gemini"], {GOVERNANCE: pair.create_token("alice")}) as client,
        pytest.raises(errors.ClientError, match="allow_byok") as caught,
    ):
        client.models.generate_content(model=MODEL, contents="x")
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


def test_an_answer_of_envoy_itself(every_type: Pair, token: str) -> None:
    """A request that Envoy itself refuses raises the SDK's own class too."""
    with (
        _client(every_type, token, {"x-large": "a" * 65_000}) as client,
        pytest.raises(errors.ClientError, match="headers are too large") as caught,
    ):
        client.models.generate_content(model=MODEL, contents="x")
    assert caught.value.code == 431
