"""Provider types as data: credential headers, allowed paths, error shape.

The paths are those of ``coder-contract.md`` 2.1, an allow-list on purpose: a central key can have
administrative rights, so no other path is routed.
"""

from dataclasses import dataclass
from enum import StrEnum

from authz.headers import AUTHORIZATION, X_API_KEY

RESERVED_NAMES = frozenset({"api", "healthz", "readyz", "sessions", "models", "clients"})
"""Words that Coder's gateway uses in the place of a provider's name (``coder-contract.md`` 2.1)."""

API_PREFIXES = ("/api/v2/ai-gateway", "/api/v2/aibridge")
"""Both of Coder's prefixes; a bare ``/<provider>`` is served too."""


class ErrorShape(StrEnum):
    """Whose JSON an error is written in, so that the SDK raises its own class."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    ANY = "any"
    """For a request to no known provider: the fields of both."""


@dataclass(frozen=True, slots=True)
class AllowedPath:
    """Methods and a path that a provider type serves.

    Attributes:
        methods: HTTP methods in upper case.
        pattern: RE2, matched in full against the path behind ``/<provider>``, without the query.
    """

    methods: tuple[str, ...]
    pattern: str


@dataclass(frozen=True, slots=True)
class ProviderType:
    """How one kind of provider takes its credential and which requests may reach it.

    Attributes:
        own_headers: where the user's own credential may stand, first found wins
            (``coder-contract.md`` 2.5).
        central_header: where the central key goes; None where there never is one.
        client_prefix: part of the client's path that the provider's base URL stands for.
        websocket_paths: patterns of paths that a WebSocket may be opened on; none means that
            providers of this type have no WebSockets.
    """

    name: str
    error_shape: ErrorShape
    own_headers: tuple[str, ...]
    central_header: str | None
    client_prefix: str
    paths: tuple[AllowedPath, ...]
    websocket_paths: tuple[str, ...] = ()

    def credential_value(self, key: str) -> str:
        """Write a key as the value of ``central_header``."""
        return f"Bearer {key}" if self.central_header == AUTHORIZATION else key


_READ = ("GET", "HEAD")
_ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_ANTHROPIC_PATHS = (
    AllowedPath(("POST",), "/v1/messages"),
    AllowedPath(("POST",), "/v1/messages/count_tokens"),
    AllowedPath(("POST",), "/api/event_logging/.*"),
    # Read only: with an administrator's key a DELETE here would destroy a model for everyone.
    AllowedPath(_READ, "/v1/models(?:/.*)?"),
)
_OPENAI_PATHS = (
    AllowedPath(("POST",), "/v1/chat/completions"),
    AllowedPath(("POST",), "/v1/responses"),
    AllowedPath(("GET", "HEAD", "POST", "DELETE"), "/v1/responses/.*"),
    AllowedPath(("GET", "HEAD", "POST", "DELETE"), "/v1/conversations(?:/.*)?"),
    AllowedPath(_READ, "/v1/models(?:/.*)?"),
)


def _openai_format(name: str, websocket_paths: tuple[str, ...] = ()) -> ProviderType:
    return ProviderType(
        name=name,
        error_shape=ErrorShape.OPENAI,
        own_headers=(AUTHORIZATION,),
        central_header=AUTHORIZATION,
        client_prefix="/v1",
        paths=_OPENAI_PATHS,
        websocket_paths=websocket_paths,
    )


_TYPES = (
    ProviderType(
        name="anthropic",
        error_shape=ErrorShape.ANTHROPIC,
        # Claude Code sends both when both are set, and means the API key.
        own_headers=(X_API_KEY, AUTHORIZATION),
        central_header=X_API_KEY,
        client_prefix="",
        paths=_ANTHROPIC_PATHS,
    ),
    _openai_format("openai", websocket_paths=("/v1/responses", "/v1/realtime")),
    _openai_format("google"),
    _openai_format("openrouter"),
    _openai_format("vercel"),
    _openai_format("openai-compat"),
    ProviderType(
        name="copilot",
        error_shape=ErrorShape.OPENAI,
        own_headers=(AUTHORIZATION,),
        central_header=None,
        client_prefix="",
        # Everything: no central key can be misused, the user's own GitHub token decides.
        paths=(AllowedPath(_ANY, "/.*"),),
    ),
)

PROVIDER_TYPES = {provider_type.name: provider_type for provider_type in _TYPES}
"""Every ``type`` that a provider in ``gateway.yaml`` may have."""
