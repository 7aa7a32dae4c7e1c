"""Anthropic's own API."""

from authz.headers import AUTHORIZATION, X_API_KEY
from authz.providers.base import READ, AllowedPath, ErrorShape, ProviderType

ANTHROPIC = ProviderType(
    name="anthropic",
    error_shape=ErrorShape.ANTHROPIC,
    # Claude Code sends both when both are set, and means the API key.
    own_headers=(X_API_KEY, AUTHORIZATION),
    central_header=X_API_KEY,
    client_prefix="",
    # Tokens of a log-in, which Claude Code's apiKeyHelper sends in both headers.
    bearer_prefixes=("sk-ant-oat",),
    paths=(
        AllowedPath(("POST",), "/v1/messages", inference=True),
        AllowedPath(("POST",), "/v1/messages/count_tokens"),
        AllowedPath(("POST",), "/api/event_logging/.*"),
        # Read only: with an administrator's key a DELETE would destroy a model for everyone.
        AllowedPath(READ, "/v1/models(?:/.*)?"),
    ),
)
