"""Azure OpenAI through the gateway, with OpenAI's SDK and both of its clients."""

from typing import Any

import openai
import pytest

from tests.support.every_type import CENTRAL, OAUTH, OWN
from tests.support.pair import Pair
from tests.support.requests import leaks

ASK: Any = [{"role": "user", "content": "What is the weather in Ghent?"}]
VERSION = "2025-04-01-preview"
GOVERNANCE = "X-Coder-AI-Governance-Token"


@pytest.fixture(scope="module")
def token(every_type: Pair) -> str:
    """A token of alice."""
    return every_type.create_token("alice")


def _azure(pair: Pair, **options: Any) -> openai.AzureOpenAI:
    return openai.AzureOpenAI(
        azure_endpoint=f"{pair.url}/azure", api_version=VERSION, max_retries=0, **options
    )


def _check(pair: Pair, header: str, value: str, token: str) -> None:
    seen = pair.provider.take()
    assert seen
    for one in seen:
        found = [(name, text) for name, text in one.headers if name in ("api-key", "authorization")]
        assert found == [(header, value)]
        assert not leaks(one, [token])


def _use(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-5", messages=ASK)
    assert "Ghent" in (answer.choices[0].message.content or "")
    chunks = client.chat.completions.create(model="gpt-5", messages=ASK, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Ghent" in text
    response = client.responses.create(model="gpt-5", input="Ghent?")
    assert "Ghent" in response.output_text
    events = list(client.responses.create(model="gpt-5", input="Ghent?", stream=True))
    assert events[-1].type == "response.completed"
    assert client.models.list().data


def test_azures_client_centralized(every_type: Pair, token: str) -> None:
    """Azure's client sends the Coder token as Api-Key, and the central key replaces it."""
    every_type.provider.take()
    with _azure(every_type, api_key=token) as client:
        _use(client)
    _check(every_type, "api-key", CENTRAL["azure"], token)


def test_azures_client_with_an_own_key(every_type: Pair, token: str) -> None:
    """An own key in Api-Key is passed on, with the Coder token in the governance header."""
    every_type.provider.take()
    with _azure(every_type, api_key=OWN["azure"], default_headers={GOVERNANCE: token}) as client:
        _use(client)
    _check(every_type, "api-key", OWN["azure"], token)


def test_azures_client_with_entra_id(every_type: Pair, token: str) -> None:
    """A token of Entra ID is received and passed on as a Bearer."""
    every_type.provider.take()
    with _azure(
        every_type, azure_ad_token=OAUTH["azure"], default_headers={GOVERNANCE: token}
    ) as client:
        _use(client)
    _check(every_type, "authorization", f"Bearer {OAUTH['azure']}", token)


@pytest.mark.parametrize("own", [False, True], ids=["centralized", "byok"])
def test_openais_client_on_v1(every_type: Pair, token: str, own: bool) -> None:
    """OpenAI's plain client, which sends a Bearer, works on Azure's newer API."""
    every_type.provider.take()
    headers = {GOVERNANCE: token} if own else {}
    with openai.OpenAI(
        base_url=f"{every_type.url}/azure/openai/v1/",
        api_key=OWN["azure"] if own else token,
        default_headers=headers,
        max_retries=0,
    ) as client:
        _use(client)
    if own:
        _check(every_type, "authorization", f"Bearer {OWN['azure']}", token)
    else:
        _check(every_type, "api-key", CENTRAL["azure"], token)


def test_the_version_arrives(every_type: Pair, token: str) -> None:
    """The API version reaches Azure, which does not answer without it."""
    every_type.provider.take()
    with _azure(every_type, api_key=token) as client:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    (seen,) = every_type.provider.take()
    assert (seen.path, seen.query) == (
        "/openai/deployments/gpt-5/chat/completions",
        f"api-version={VERSION}",
    )


def test_refusals(every_type: Pair, every_type_without_byok: Pair, token: str) -> None:
    """Each refusal raises the SDK's own class."""
    with (
        _azure(every_type, api_key="no-coder-token") as client,
        pytest.raises(openai.AuthenticationError, match="no Coder token"),
    ):
        client.models.list()
    with (
        _azure(every_type, api_key=token) as client,
        pytest.raises(openai.NotFoundError, match="route not supported"),
    ):
        client.files.list()
    other = every_type_without_byok
    headers = {GOVERNANCE: other.create_token("alice")}
    with (
        _azure(other, api_key=OWN["azure"], default_headers=headers) as client,
        pytest.raises(openai.PermissionDeniedError, match="BYOK"),
    ):
        client.models.list()
