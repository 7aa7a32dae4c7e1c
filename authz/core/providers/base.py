"""The types that describe a provider type as data."""

from dataclasses import dataclass, replace
from enum import StrEnum

from authz.core.header_names import AUTHORIZATION
from authz.core.query import NO_NAMES, QueryNames

READ = ("GET", "HEAD")
_WITHOUT_MODEL = (*READ, "DELETE", "OPTIONS")
_ESCAPED = "%(?:[346-9abd-fABD-F][0-9a-fA-F]|2[0-46-9a-fA-F]|5[0-9abd-fABD-F]|[cC][2-9a-fA-F])"
"""Every escape but those of control characters, ``%`` and the backslash, and overlong UTF-8."""

BELOW_MODELS = rf"(?:/(?:\.?(?:[^.%]|{_ESCAPED}))*\.?)?"
"""Matches the rest of a path below a list of models: empty, or a name with slashes or ``%2F``.

A name never holds ``..`` or an escaped ``%``, so that a path stays below the list, however often a
server decodes it.
"""
ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class ErrorShape(StrEnum):
    """The JSON format of an error, so that the provider's SDK raises its own class."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GOOGLE = "google"
    ANY = "any"
    """Has the fields of both Anthropic and OpenAI, for no provider or one that both SDKs use."""


class ModelPlace(StrEnum):
    """The place in a request that says which model answers it."""

    NONE = "none"
    """Nowhere: no model answers."""
    BODY = "body"
    """The field ``model`` of the JSON body."""
    OPTIONAL = "optional"
    """The same, on paths of which not all call a model."""
    PATH = "path"
    UNKNOWN = "unknown"
    """A place that Envoy can't read, or any place: rules for models refuse such a request."""


@dataclass(frozen=True, slots=True)
class AllowedPath:
    """Methods and a path that a provider type serves.

    Attributes:
        methods: HTTP methods in upper case.
        pattern: RE2, matched in full against the path after ``/<provider>``, without the query.
        inference: whether a model answers here; ``send_actor_headers`` adds the user's name only to
            these requests.
        keyless: whether the provider answers without a credential, too.
        central_key: whether this path may use the central key.
        below: the provider's prefix of this path, which clients of the gateway leave out.
        escaped_slash: whether the path may hold ``%2F``; the pattern itself must exclude ``..``.
        own_only: whether the path is a 404 without the user's own credential.
        model: the place of the model in requests that write; those that read or delete have none.
        model_in_path: RE2 with one group, for ``ModelPlace.PATH``: the part of the path that has
            the model.
    """

    methods: tuple[str, ...]
    pattern: str
    inference: bool = False
    keyless: bool = False
    central_key: bool = True
    below: str = ""
    escaped_slash: bool = False
    own_only: bool = False
    model: ModelPlace = ModelPlace.UNKNOWN
    model_in_path: str = ""

    def by_model(self) -> tuple["AllowedPath", ...]:
        """Return this path, or two with separate methods if the methods differ in the model."""
        free = tuple(method for method in self.methods if method in _WITHOUT_MODEL)
        others = tuple(method for method in self.methods if method not in _WITHOUT_MODEL)
        parts = []
        if free:
            parts.append(replace(self, methods=free, model=ModelPlace.NONE, model_in_path=""))
        if others:
            parts.append(replace(self, methods=others))
        return tuple(parts)


def models(listing: str) -> AllowedPath:
    """Return the path of a list of models and the models below it, read only.

    With an administrator's key a DELETE would delete a model for everyone.

    Args:
        listing: the pattern of the list's path.
    """
    return AllowedPath(READ, f"{listing}{BELOW_MODELS}", escaped_slash=True)


@dataclass(frozen=True, slots=True)
class ProviderType:
    """The credential headers of one type of provider, and the requests that may reach it.

    Attributes:
        own_headers: headers that may hold the user's own credential; the first one found wins.
        central_header: the header for the central key; None for a type without central keys.
        client_prefix: the part of the client's path that the provider's base URL replaces.
        websocket_paths: patterns of paths that accept a WebSocket; empty for a type without
            WebSockets.
        token_header: the header in which the provider's own SDK sends its key, so that it may hold
            the Coder token, too; None for ``Authorization`` and ``X-Api-Key``.
        query: names of query parameters that the provider reads like headers.
        bearer_prefixes: prefixes of credentials that the provider accepts only as a Bearer.
        bearer_headers: headers, with values, that go with such a credential. They are appended to
            the client's.
        signed: whether Envoy signs centralized requests with AWS credentials instead of a key.
        may_be_open: whether providers of this type may take no credential (``key: none``).
        removed_headers: headers of a client that the provider must not get.
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
    bearer_headers: tuple[tuple[str, str], ...] = ()
    signed: bool = False
    may_be_open: bool = False
    removed_headers: tuple[str, ...] = ()

    def is_bearer(self, key: str) -> bool:
        """Return whether the provider takes a key as a Bearer only."""
        return key.startswith(self.bearer_prefixes)

    def credential(self, key: str) -> tuple[str, str]:
        """Return the header in which the provider takes a key, and its value."""
        header = self.central_header or AUTHORIZATION
        if self.is_bearer(key):
            header = AUTHORIZATION
        return header, f"Bearer {key}" if header == AUTHORIZATION else key
