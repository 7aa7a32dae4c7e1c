"""authz.check.hints: the advice in the text of a 404."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.check import hints
from authz.config.settings import Provider


def _provider(name: str, kind: str, base_url: str) -> Provider:
    return Provider.model_validate({"name": name, "type": kind, "base_url": base_url})


OPENAI = _provider("openai", "openai", "https://api.openai.com/v1/")
ANTHROPIC = _provider("claude", "anthropic", "https://api.anthropic.com/")
AZURE = _provider("azure", "azure", "https://r.openai.azure.com")
BASE_URL = "let the base URL end in"


@pytest.mark.parametrize(
    ("provider", "method", "path", "advice"),
    [
        (
            OPENAI,
            "POST",
            "/openai/v1/v1/embeddings",
            f'"/v1" is in the path twice: {BASE_URL} /openai',
        ),
        (OPENAI, "POST", "/api/v2/aibridge/openai/v1/v1/responses", '"/v1" is in the path twice'),
        (
            OPENAI,
            "POST",
            "/openai/embeddings",
            f'"/v1" is missing in the path: {BASE_URL} /openai/v1',
        ),
        (OPENAI, "GET", "/api/v2/ai-gateway/openai/models", f"{BASE_URL} /openai/v1"),
        (
            ANTHROPIC,
            "POST",
            "/claude/v1/v1/messages",
            f'"/v1" is in the path twice: {BASE_URL} /claude',
        ),
        (ANTHROPIC, "POST", "/claude/messages", f"{BASE_URL} /claude/v1"),
        (AZURE, "POST", "/azure/chat/completions", f"{BASE_URL} /azure/openai/v1"),
        (AZURE, "POST", "/azure/openai/openai/responses", f"twice: {BASE_URL} /azure"),
        (OPENAI, "GET", "/openai/v1/embeddings", "This path takes POST"),
        (OPENAI, "GET", "/openai/v1/files/a%2Fb", "in the name of a model, below /models, only"),
        (OPENAI, "GET", "/openai/v1/models/x..y", '".."'),
        (OPENAI, "POST", "/openai/v1/batches", 'extra_paths of provider "openai" in gateway.yaml'),
        (OPENAI, "POST", "/v1/batches", 'extra_paths of provider "openai"'),
    ],
)
def test_advice(provider: Provider, method: str, path: str, advice: str) -> None:
    """Each common mistake gets the words that end it."""
    assert advice in hints.not_served(method, path, provider, own_passes=False)


def test_on_a_host_where_ones_own_credential_passes() -> None:
    """The advice begins with the own credential, and does not mention the base URL."""
    advice = hints.not_served("GET", "/embeddings", OPENAI, own_passes=True)
    assert advice.startswith("It is served with your own credential only")
    assert "base URL" not in advice


def test_no_provider() -> None:
    """The advice names the providers, which anyone with a token may know."""
    advice = hints.unknown_provider("/v1/messages", ["claude", "openai"])
    assert advice == "The path has to begin with a provider: /claude, /openai"
    assert hints.unknown_provider("/v1/messages", []) == ""
    assert "%2F" in hints.unknown_provider("/claude%2fv1/messages", ["claude"])


@given(st.text(), st.sampled_from([OPENAI, ANTHROPIC, AZURE]), st.booleans())
def test_any_path(path: str, provider: Provider, own_passes: bool) -> None:
    """Any path gets printable advice, which does not quote it."""
    advice = hints.not_served("GET", f"{path}/needle{path}", provider, own_passes=own_passes)
    assert advice
    assert advice.isprintable()
    assert "needle" not in advice


def test_a_long_path_costs_little() -> None:
    """A path of Envoy's limit is not matched against every pattern."""
    path = "/openai/v1/models/" + "a." * 30_000 + "%"
    assert "extra_paths" in hints.not_served("GET", path, OPENAI, own_passes=False)
