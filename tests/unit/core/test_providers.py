"""authz.core.providers."""

import posixpath
import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.credentials import read
from authz.core.header_names import (
    API_KEY,
    AUTHORIZATION,
    CREDENTIAL_HEADERS,
    X_API_KEY,
    X_GOOG_API_KEY,
)
from authz.core.providers import PROVIDER_TYPES, RESERVED_NAMES, ErrorShape, ProviderType

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
    ("openai", "GET", "/v1/models/mistralai%2Fmistral-7b"),
    ("openai", "GET", "/v1/models/a/b-1.5:free"),
    *(
        (name, "POST", f"/v1/{path}")
        for name in ("openai", "google", "openrouter", "vercel", "openai-compat")
        for path in (
            "completions",
            "embeddings",
            "moderations",
            "images/generations",
            "images/edits",
            "images/variations",
            "audio/speech",
            "audio/transcriptions",
            "audio/translations",
        )
    ),
    *((name, "POST", "/v1/rerank") for name in ("openrouter", "vercel", "openai-compat")),
    ("anthropic", "GET", "/api/hello"),
    ("azure", "POST", "/openai/deployments/d/embeddings"),
    ("azure", "POST", "/openai/deployments/d/audio/transcriptions"),
    ("azure", "POST", "/openai/deployments/d/images/generations"),
    ("azure", "POST", "/openai/v1/embeddings"),
    ("copilot", "POST", "/embeddings"),
    ("gemini", "POST", "/v1beta/models/imagen-4:predict"),
    ("gemini", "GET", "/v1beta/models/models%2Fgemini-2.5-flash"),
    ("copilot", "POST", "/chat/completions"),
    ("copilot", "GET", "/_ping"),
    ("copilot", "POST", "/v1/messages"),
    ("azure", "POST", "/openai/deployments/gpt-5.mini/chat/completions"),
    ("azure", "POST", "/openai/responses"),
    ("azure", "DELETE", "/openai/responses/resp_1"),
    ("azure", "GET", "/openai/models"),
    ("azure", "POST", "/openai/v1/chat/completions"),
    ("azure", "POST", "/openai/v1/responses/resp_1/cancel"),
    ("azure", "POST", "/openai/v1/conversations"),
    ("azure", "GET", "/openai/v1/models/gpt-5"),
    ("gemini", "GET", "/v1beta/models"),
    ("gemini", "GET", "/v1/models/gemini-2.5-flash"),
    ("gemini", "POST", "/v1/models/gemini-2.5-flash:generateContent"),
    ("gemini", "POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
    ("gemini", "POST", "/v1beta/models/e:countTokens"),
    ("gemini", "POST", "/v1beta/models/e:embedContent"),
    ("gemini", "POST", "/v1beta/models/e:batchEmbedContents"),
    ("bedrock", "POST", "/v1/messages"),
    ("bedrock", "POST", "/v1/messages/count_tokens"),
    ("bedrock", "POST", "/v1/chat/completions"),
    ("bedrock", "POST", "/openai/v1/responses"),
    ("bedrock", "GET", "/v1/models/m"),
]
NOT_SERVED = [
    ("anthropic", "GET", "/v1/messages"),
    ("anthropic", "POST", "/v1/messages/batches"),
    ("anthropic", "DELETE", "/v1/models/claude"),
    ("anthropic", "GET", "/v1/organizations/api_keys"),
    ("anthropic", "POST", "/v1/files"),
    ("anthropic", "POST", "/v1/complete"),
    ("openai", "GET", "/v1/files"),
    ("openai", "GET", "/v1/organization/projects"),
    ("openai", "POST", "/v1/fine_tuning/jobs"),
    ("openai", "DELETE", "/v1/models/ft:mine"),
    ("openai", "POST", "/v1/batches"),
    ("openai", "POST", "/v1/uploads"),
    ("openai", "POST", "/v1/rerank"),
    ("google", "POST", "/v1/rerank"),
    ("openai", "GET", "/v1/embeddings"),
    ("openai", "POST", "/v1/images"),
    ("openai", "POST", "/v1/audio/voices"),
    ("openai", "GET", "/v1/models/.."),
    ("openai", "GET", "/v1/models/..%2Ffiles"),
    ("openai", "GET", "/v1/models/x%252Ffiles"),
    ("openai", "GET", "/v1/models/x%5Cfiles"),
    ("openai", "DELETE", "/v1/models/a%2Fb"),
    ("openai", "POST", "/v1/chat/completions/x"),
    ("openai", "POST", "/chat/completions"),
    ("copilot", "CONNECT", "/"),
    ("azure", "POST", "/openai/deployments/d/images/variations"),
    ("azure", "POST", "/openai/v1/rerank"),
    ("azure", "POST", "/openai/deployments/d%2Fx/chat/completions"),
    ("azure", "POST", "/openai/deployments"),
    ("azure", "DELETE", "/openai/models/m"),
    ("azure", "GET", "/openai/v1/files"),
    ("azure", "POST", "/openai/conversations"),
    ("gemini", "POST", "/v1beta/models/m:tuneModel"),
    ("gemini", "POST", "/v1beta/models/m"),
    ("gemini", "GET", "/v1beta/models/m:generateContent"),
    ("gemini", "POST", "/v1beta/models/m%3Atune:generateContent"),
    ("gemini", "POST", "/v1beta/tunedModels/m:generateContent"),
    ("gemini", "GET", "/v1beta/files"),
    ("gemini", "GET", "/v1beta/models/m/operations"),
    ("gemini", "GET", "/v1beta/models/..%2Ffiles"),
    ("gemini", "GET", "/v1beta/models/m%3AgenerateContent"),
    ("gemini", "POST", "/v1beta/models/m:batchGenerateContent"),
    ("bedrock", "POST", "/model/m/invoke"),
    ("bedrock", "DELETE", "/v1/models/m"),
    ("bedrock", "GET", "/v1/responses/r"),
]


def _serves(provider_type: ProviderType, method: str, path: str) -> bool:
    return any(
        method in allowed.methods and re.fullmatch(allowed.pattern, path)
        for allowed in provider_type.paths
    )


@pytest.mark.parametrize(("name", "method", "path"), SERVED)
def test_served(name: str, method: str, path: str) -> None:
    """Each path that clients need is on the provider's list."""
    assert _serves(PROVIDER_TYPES[name], method, path)


@pytest.mark.parametrize(("name", "method", "path"), NOT_SERVED)
def test_not_served(name: str, method: str, path: str) -> None:
    """No list has a path that could do harm with an administrative central key."""
    assert not _serves(PROVIDER_TYPES[name], method, path)


@pytest.mark.parametrize("provider_type", PROVIDER_TYPES.values(), ids=list(PROVIDER_TYPES))
def test_every_type_reads_and_writes_known_headers(provider_type: ProviderType) -> None:
    """Credentials are only in headers of the one list, so each of them can be removed."""
    headers = {*provider_type.own_headers, provider_type.central_header or AUTHORIZATION}
    if provider_type.token_header:
        headers.add(provider_type.token_header)
    assert headers <= set(CREDENTIAL_HEADERS)
    everything = read([(name, b"Bearer sk-1") for name in CREDENTIAL_HEADERS])
    assert None not in {everything.named(header) for header in headers}
    assert provider_type.own_headers
    assert provider_type.name == next(
        name for name, value in PROVIDER_TYPES.items() if value is provider_type
    )


def test_how_a_key_is_written() -> None:
    """Anthropic takes the bare key, OpenAI's formats take it as a Bearer token."""
    assert PROVIDER_TYPES["anthropic"].credential("sk") == ("x-api-key", "sk")
    assert PROVIDER_TYPES["openai"].credential("sk") == ("authorization", "Bearer sk")
    for name, key in (
        ("anthropic", "sk-ant-oat01-a"),
        ("azure", "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.e30.c2ln"),
        ("gemini", "ya29.a"),
    ):
        assert PROVIDER_TYPES[name].credential(key) == ("authorization", f"Bearer {key}")
    assert PROVIDER_TYPES["copilot"].central_header is None


def test_where_own_credentials_stand() -> None:
    """The SDK's own header comes first; in OpenAI's format it is a Bearer alone."""
    bearer, openai = (AUTHORIZATION,), ErrorShape.OPENAI
    found = {t.name: (t.own_headers, t.error_shape) for t in PROVIDER_TYPES.values()}
    assert found == {
        "anthropic": ((X_API_KEY, AUTHORIZATION), ErrorShape.ANTHROPIC),
        "openai": (bearer, openai),
        "google": ((AUTHORIZATION, X_GOOG_API_KEY), openai),
        "openrouter": (bearer, openai),
        "vercel": (bearer, openai),
        "openai-compat": (
            (
                AUTHORIZATION,
                "x-litellm-api-key",
                "x-portkey-api-key",
                "cf-aig-authorization",
                "helicone-auth",
                "apikey",
                "x-bf-vk",
            ),
            openai,
        ),
        "azure": ((API_KEY, AUTHORIZATION, "ocp-apim-subscription-key"), openai),
        "gemini": ((X_GOOG_API_KEY, AUTHORIZATION), ErrorShape.GOOGLE),
        "bedrock": ((X_API_KEY, AUTHORIZATION), ErrorShape.ANY),
        "copilot": (bearer, openai),
    }


@pytest.mark.parametrize("provider_type", PROVIDER_TYPES.values(), ids=list(PROVIDER_TYPES))
def test_patterns_can_be_joined(provider_type: ProviderType) -> None:
    """Each pattern matches the same paths alone as behind a prefix and beside others."""
    for path in provider_type.paths:
        assert path.pattern.startswith(("/", "(?:/"))
        alone = re.compile(path.pattern)
        joined = re.compile(f"/prefix(?:/nothing|{path.pattern})")
        for _, _, served in SERVED:
            assert bool(alone.fullmatch(served)) == bool(joined.fullmatch(f"/prefix{served}"))
            assert re.fullmatch(f"/prefix{path.pattern}", served) is None


def test_a_coder_token_where_the_sdk_puts_its_key() -> None:
    """Azure and Gemini have a header of their own; the token may come there, too."""
    found = {t.name: t.token_header for t in PROVIDER_TYPES.values() if t.token_header}
    assert found == {"azure": API_KEY, "gemini": X_GOOG_API_KEY}


def test_only_bedrock_is_signed() -> None:
    """Bedrock alone is signed: it has no central header, and removes signature headers."""
    assert [t.name for t in PROVIDER_TYPES.values() if t.signed] == ["bedrock"]
    bedrock = PROVIDER_TYPES["bedrock"]
    assert bedrock.central_header is None
    assert "x-amz-security-token" in bedrock.removed_headers


def test_what_needs_no_credential() -> None:
    """Only Copilot's two questions and Claude Code's first one need no credential."""
    keyless = [(t.name, p.pattern) for t in PROVIDER_TYPES.values() for p in t.paths if p.keyless]
    assert keyless == [("anthropic", "/api/hello"), ("copilot", "/(?:_ping|auto)")]


def test_reserved_names() -> None:
    """Providers can't have the names of Coder's own routes or of the token endpoint."""
    words = {"api", "healthz", "readyz", "sessions", "models", "clients", "oauth"}
    assert words == RESERVED_NAMES


_PLAIN = ["a", "B", "7", "2f", "files", "models"]
_PIECES = st.sampled_from(
    _PLAIN
    + re.findall(r"\S+", ". .. - / ~ @ ; : % %% %2F %2f %2e %2E %25 %252f %5c %5C %0d %09 %20")
    + re.findall(r"\S+", "%3A %c0%ae %c0%af %C3%A9 %u002e")
)
_LISTINGS = {
    "anthropic": "/v1/models",
    "openai": "/v1/models",
    "azure": "/openai/models",
    "bedrock": "/openai/v1/models",
    "gemini": "/v1beta/models",
}


@given(st.sampled_from(sorted(_LISTINGS)), st.lists(_PIECES, max_size=8).map("".join))
@example("openai", "/mistralai%2Fmistral-7b")
@example("gemini", "/..%2F..%2Ffiles")
@example("openai", "/%%35c..%%35cfiles")
def test_no_name_of_a_model_climbs(name: str, rest: str) -> None:
    """A served path stays below the list of models, however often it is decoded."""
    listing = _LISTINGS[name]
    # As Envoy does it before a route is chosen.
    path = re.sub("%2[eE]", ".", listing + rest)
    if not _serves(PROVIDER_TYPES[name], "GET", path):
        return
    for _ in range(4):
        assert "\\" not in path
        assert posixpath.normpath(path).startswith(listing), path
        path = unquote(path, errors="surrogateescape")


@given(st.lists(st.sampled_from(_PLAIN), min_size=1, max_size=4))
def test_a_slash_in_a_models_name(words: list[str]) -> None:
    """The name of a model may have any number of escaped slashes."""
    for slash in ("%2F", "%2f"):
        for name, listing in _LISTINGS.items():
            assert _serves(PROVIDER_TYPES[name], "GET", f"{listing}/{slash.join(words)}")
