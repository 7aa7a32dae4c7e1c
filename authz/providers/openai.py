"""OpenAI's own API, and those that speak its format under a base URL that ends in a version."""

from authz.headers import AUTHORIZATION
from authz.providers.base import READ, AllowedPath, ErrorShape, ProviderType

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
    name: str, websocket_paths: tuple[str, ...] = (), query_credentials: tuple[str, ...] = ()
) -> ProviderType:
    return ProviderType(
        name=name,
        error_shape=ErrorShape.OPENAI,
        own_headers=(AUTHORIZATION,),
        central_header=AUTHORIZATION,
        client_prefix="/v1",
        paths=_PATHS,
        websocket_paths=websocket_paths,
        query_credentials=query_credentials,
    )


GOOGLE_QUERY_CREDENTIALS = ("key", "access_token", "oauth_token", "bearer_token")
"""System parameters of every Google API (``cloud.google.com/apis/docs/system-parameters``)."""

OPENAI_FORMAT = (
    _openai_format("openai", websocket_paths=("/v1/responses", "/v1/realtime")),
    _openai_format("google", query_credentials=GOOGLE_QUERY_CREDENTIALS),
    _openai_format("openrouter"),
    _openai_format("vercel"),
    _openai_format("openai-compat"),
)
