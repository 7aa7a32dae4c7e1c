"""OpenAI's own API, and those that speak its format under a base URL that ends in a version."""

from authz.header_names import AUTHORIZATION, GATEWAY_KEYS, X_GOOG_API_KEY
from authz.providers.base import READ, AllowedPath, ErrorShape, ProviderType
from authz.query import NO_NAMES, QueryNames

STORED = ("GET", "HEAD", "POST", "DELETE")
"""Methods for what the API stores: responses and conversations."""

_PATHS = (
    AllowedPath(("POST",), "/v1/chat/completions", inference=True),
    AllowedPath(("POST",), "/v1/responses", inference=True),
    AllowedPath(STORED, "/v1/responses/.*"),
    AllowedPath(STORED, "/v1/conversations(?:/.*)?"),
    AllowedPath(READ, "/v1/models(?:/.*)?"),
)


def _openai_format(
    name: str,
    websocket_paths: tuple[str, ...] = (),
    own_headers: tuple[str, ...] = (),
    query: QueryNames = NO_NAMES,
) -> ProviderType:
    return ProviderType(
        name=name,
        error_shape=ErrorShape.OPENAI,
        own_headers=(AUTHORIZATION, *own_headers),
        central_header=AUTHORIZATION,
        client_prefix="/v1",
        paths=_PATHS,
        websocket_paths=websocket_paths,
        query=query,
    )


GOOGLE_QUERY = QueryNames(
    credentials=("key", "access_token", "oauth_token", "bearer_token"),
    accounts=("userProject", "$userProject", "quotaUser", "$quotaUser"),
    overrides=("$httpHeaders", "$httpMethod"),
)
"""System parameters of every Google API (``cloud.google.com/apis/docs/system-parameters``)."""

_COMPAT_QUERY = QueryNames(credentials=("api_key", "apikey", "access_token", "subscription-key"))

OPENAI_FORMAT = (
    _openai_format("openai", websocket_paths=("/v1/responses", "/v1/realtime")),
    _openai_format("google", own_headers=(X_GOOG_API_KEY,), query=GOOGLE_QUERY),
    _openai_format("openrouter"),
    _openai_format("vercel"),
    # Behind it may be another gateway, which reads its own headers first.
    _openai_format("openai-compat", own_headers=GATEWAY_KEYS, query=_COMPAT_QUERY),
)
