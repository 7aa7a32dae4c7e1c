"""authz.providers."""

import re

import pytest

from authz.headers import AUTHORIZATION, CREDENTIAL_HEADERS, X_API_KEY
from authz.providers import PROVIDER_TYPES, RESERVED_NAMES, ErrorShape, ProviderType

SERVED = [
    ("anthropic", "POST", "/v1/messages"),
    ("anthropic", "POST", "/v1/messages/count_tokens"),
    ("anthropic", "GET", "/v1/models"),
    ("anthropic", "GET", "/v1/models/claude"),
    ("anthropic", "POST", "/api/event_logging/batch"),
    ("openai", "POST", "/v1/chat/completions"),
    ("openai", "POST", "/v1/responses"),
    ("openai", "GET", "/v1/responses/resp_1"),
    ("openai", "POST", "/v1/responses/resp_1/cancel"),
    ("openai", "DELETE", "/v1/responses/resp_1"),
    ("openai", "GET", "/v1/models"),
    ("openai", "POST", "/v1/conversations"),
    ("openai", "GET", "/v1/conversations/conv_1/items"),
    ("copilot", "POST", "/chat/completions"),
    ("copilot", "GET", "/_ping"),
    ("copilot", "POST", "/v1/messages"),
]
NOT_SERVED = [
    ("anthropic", "GET", "/v1/messages"),
    ("anthropic", "POST", "/v1/messages/batches"),
    ("anthropic", "DELETE", "/v1/models/claude"),
    ("anthropic", "GET", "/v1/organizations/api_keys"),
    ("anthropic", "POST", "/v1/files"),
    ("anthropic", "POST", "/v1/complete"),
    ("openai", "POST", "/v1/completions"),
    ("openai", "GET", "/v1/files"),
    ("openai", "GET", "/v1/organization/projects"),
    ("openai", "POST", "/v1/fine_tuning/jobs"),
    ("openai", "DELETE", "/v1/models/ft:mine"),
    ("openai", "POST", "/v1/embeddings"),
    ("openai", "POST", "/v1/chat/completions/x"),
    ("openai", "POST", "/chat/completions"),
    ("copilot", "CONNECT", "/"),
]


def _serves(provider_type: ProviderType, method: str, path: str) -> bool:
    return any(
        method in allowed.methods and re.fullmatch(allowed.pattern, path)
        for allowed in provider_type.paths
    )


@pytest.mark.parametrize(("name", "method", "path"), SERVED)
def test_served(name: str, method: str, path: str) -> None:
    """What clients need of a provider is on its list."""
    assert _serves(PROVIDER_TYPES[name], method, path)


@pytest.mark.parametrize(("name", "method", "path"), NOT_SERVED)
def test_not_served(name: str, method: str, path: str) -> None:
    """What a central key with administrative rights could do harm with is on no list."""
    assert not _serves(PROVIDER_TYPES[name], method, path)


@pytest.mark.parametrize("provider_type", PROVIDER_TYPES.values(), ids=list(PROVIDER_TYPES))
def test_every_type_reads_and_writes_known_headers(provider_type: ProviderType) -> None:
    """Credentials stand in headers of the one list only, so each of them can be removed."""
    headers = {*provider_type.own_headers, provider_type.central_header or AUTHORIZATION}
    assert headers <= {AUTHORIZATION, X_API_KEY} <= set(CREDENTIAL_HEADERS)
    assert provider_type.own_headers
    assert provider_type.name == next(
        name for name, value in PROVIDER_TYPES.items() if value is provider_type
    )


def test_how_a_key_is_written() -> None:
    """Anthropic takes the bare key, OpenAI's formats take it as a Bearer token."""
    assert PROVIDER_TYPES["anthropic"].credential_value("sk") == "sk"
    assert PROVIDER_TYPES["openai"].credential_value("sk") == "Bearer sk"
    assert PROVIDER_TYPES["copilot"].central_header is None


def test_where_own_credentials_stand() -> None:
    """The API key wins for Anthropic; for all others X-Api-Key is no credential."""
    assert PROVIDER_TYPES["anthropic"].own_headers == (X_API_KEY, AUTHORIZATION)
    assert PROVIDER_TYPES["anthropic"].error_shape is ErrorShape.ANTHROPIC
    for name, provider_type in PROVIDER_TYPES.items():
        if name != "anthropic":
            assert provider_type.own_headers == (AUTHORIZATION,)
            assert provider_type.error_shape is ErrorShape.OPENAI


def test_reserved_names() -> None:
    """The words of Coder's own routes can't be providers."""
    words = {"api", "healthz", "readyz", "sessions", "models", "clients"}
    assert words == RESERVED_NAMES
