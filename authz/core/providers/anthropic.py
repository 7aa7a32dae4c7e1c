"""Anthropic's own API."""

from authz.core.header_names import AUTHORIZATION, X_API_KEY
from authz.core.providers.base import (
    READ,
    AllowedPath,
    ErrorShape,
    ModelPlace,
    ProviderType,
    models,
)

MESSAGE_PATHS = (
    AllowedPath(("POST",), "/v1/messages", inference=True, model=ModelPlace.BODY),
    AllowedPath(("POST",), "/v1/messages/count_tokens", model=ModelPlace.BODY),
)
ANTHROPIC = ProviderType(
    name="anthropic",
    error_shape=ErrorShape.ANTHROPIC,
    # Claude Code sends both when both are set, and Anthropic uses the API key.
    own_headers=(X_API_KEY, AUTHORIZATION),
    central_header=X_API_KEY,
    client_prefix="",
    # Claude Code's apiKeyHelper sends a log-in's token in both headers.
    bearer_prefixes=("sk-ant-oat",),
    # Without it the API refuses a Bearer. A client that sends an API key does not send it.
    bearer_headers=(("anthropic-beta", "oauth-2025-04-20"),),
    paths=(
        *MESSAGE_PATHS,
        AllowedPath(("POST",), "/api/event_logging/.*", model=ModelPlace.NONE),
        # Claude Code requests this path at its first start, before it has a credential.
        AllowedPath(READ, "/api/hello", keyless=True),
        models("/v1/models"),
    ),
)
