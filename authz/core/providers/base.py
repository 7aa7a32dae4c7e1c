"""What a provider type is, as data."""

from dataclasses import dataclass
from enum import StrEnum

from authz.core.credentials import AUTHORIZATION
from authz.core.query import NO_NAMES, QueryNames

READ = ("GET", "HEAD")
_ESCAPED = "%(?:[346-9abd-fABD-F][0-9a-fA-F]|2[0-46-9a-fA-F]|5[0-9abd-fABD-F]|[cC][2-9a-fA-F])"
"""Every escape but those of control characters, ``%`` and the backslash, and overlong UTF-8."""

BELOW_MODELS = rf"(?:/(?:\.?(?:[^.%]|{_ESCAPED}))*\.?)?"
"""Behind a list of models: nothing, or a name, in which a slash may be escaped.

A name never holds ``..`` or an escaped ``%``, so that no path leaves the list, however often it is
decoded.
"""
ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class ErrorShape(StrEnum):
    """Whose JSON an error is written in, so that the SDK raises its own class."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GOOGLE = "google"
    ANY = "any"
    """The fields of Anthropic and OpenAI: for no known provider, or one that both SDKs ask."""


@dataclass(frozen=True, slots=True)
class AllowedPath:
    """Methods and a path that a provider type serves.

    Attributes:
        methods: HTTP methods in upper case.
        pattern: RE2, matched in full against the path behind ``/<provider>``, without the query.
        inference: whether a model answers here; only there goes who asks
            (``send_actor_headers``).
        keyless: whether the provider answers without a credential, too.
        central_key: whether the central key may be used here.
        below: what the provider has in front of this path, where clients of the gateway do not.
        escaped_slash: whether the path may hold ``%2F``; the pattern itself must rule out paths
            that climb.
        own_only: whether it is a 404 without the user's own credential.
    """

    methods: tuple[str, ...]
    pattern: str
    inference: bool = False
    keyless: bool = False
    central_key: bool = True
    below: str = ""
    escaped_slash: bool = False
    own_only: bool = False


def models(listing: str) -> AllowedPath:
    """Return a list of models and the models below it, read only.

    With an administrator's key a DELETE would destroy a model for everyone.

    Args:
        listing: pattern of the list's path.
    """
    return AllowedPath(READ, f"{listing}{BELOW_MODELS}", escaped_slash=True)


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
        token_header: where the provider's own SDK puts its key, so that a Coder token may stand
            there, too; None where that is ``Authorization`` or ``X-Api-Key``.
        query: names of query parameters that the provider would act on as on headers.
        bearer_prefixes: how credentials begin that the provider takes as a Bearer only.
        signed: whether Envoy signs centralized requests with AWS credentials instead of a key.
        may_be_open: whether there are such providers without any credential (``key: none``).
        removed_headers: of a client, which the provider must not get.
    """

    name: str
    error_shape: ErrorShape
    own_headers: tuple[str, ...]
    central_header: str | None
    client_prefix: str
    paths: tuple[AllowedPath, ...]
    websocket_paths: tuple[str, ...] = ()
    token_header: str | None = None
    query: QueryNames = NO_NAMES
    bearer_prefixes: tuple[str, ...] = ()
    signed: bool = False
    may_be_open: bool = False
    removed_headers: tuple[str, ...] = ()

    def credential_value(self, key: str) -> str:
        """Write a key as the value of ``central_header``."""
        return f"Bearer {key}" if self.central_header == AUTHORIZATION else key
