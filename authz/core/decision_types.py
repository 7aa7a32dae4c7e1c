"""The inputs and the results of a decision, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from authz.core import query
from authz.core.identity import Identity, Rejection
from authz.core.providers import ErrorShape, ProviderType
from authz.core.query import QueryCredentials
from authz.core.refusals import REFUSALS, Reason, Refusal
from authz.core.rules import Mode
from authz.secret import Secret

SIGNED_HINT = "aws"
"""Replaces the masked key where Envoy signs with AWS credentials."""
OPEN_HINT = "none"
"""Replaces the masked key where the provider takes no credential."""


class RouteKind(StrEnum):
    """The destination of a route."""

    PROVIDER = "provider"
    CONNECT = "connect"
    """A CONNECT to the AI Gateway Proxy."""
    AUTHZ = "own"
    """A path that authz serves itself, to everyone with a token."""


@dataclass(frozen=True, slots=True)
class Route:
    """The destination of a request, as Envoy's route describes it.

    Attributes:
        provider: the provider's name; None for a path of no provider.
        type: the provider's type; None exactly when ``provider`` is None.
        supported: whether the provider's type lists this method and path.
        own_only: whether that holds for the user's own credential only; without it the path is
            a 404.
        label: ``METHOD /path`` and advice for the text of a 404; it decides nothing.
        central_key: whether this path may use the central key.
        keyless: whether the provider answers here without a credential, too.
        signed: whether Envoy signs requests without an own credential, so that no central key is
            needed.
        open: whether the provider takes no credential at all, so that no central key is needed.
        retries: whether Envoy can try a refused request again with the next central key.
        fallbacks: the names and base URLs of the providers to which it can then send the request.
        query: the credentials in the query.
        accounts: headers to set on a centralized request, with their values.
        joined: whether Envoy has joined duplicates of headers (``credentials.read``).
        removed: headers to remove where Envoy has no filter that removes them.
        websocket_refused: whether the request is a WebSocket on a path that has none.
        actor: whether authz adds the headers with the user, which Envoy adds elsewhere.
    """

    provider: str | None = None
    type: ProviderType | None = None
    supported: bool = False
    own_only: bool = False
    label: str = ""
    kind: RouteKind = RouteKind.PROVIDER
    central_key: bool = True
    keyless: bool = False
    signed: bool = False
    open: bool = False
    retries: bool = False
    fallbacks: tuple[str, ...] = ()
    query: QueryCredentials = query.NONE
    accounts: tuple[tuple[str, str], ...] = ()
    joined: bool = False
    removed: tuple[str, ...] = ()
    websocket_refused: bool = False
    actor: bool = False

    @property
    def error_shape(self) -> ErrorShape:
        """The JSON shape of errors on this route."""
        return self.type.error_shape if self.type else ErrorShape.ANY


@dataclass(frozen=True, slots=True)
class FurtherKey:
    """A central key that a request may use if the provider refuses those before.

    Attributes:
        index: its place in the pool; None for the only key of a provider.
        provider: the name and the base URL of the fallback provider whose key it is; None for the
            request's own provider.
    """

    key: Secret
    index: int | None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class ChosenKey:
    """A central key for one request.

    Attributes:
        index: its place in the pool; None for the only key of a provider, which has no cooldown.
        further: the other usable keys of the pool, in order.
    """

    key: Secret
    index: int | None = None
    further: tuple[FurtherKey, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Every central key of a provider is on cooldown.

    Attributes:
        retry_after: whole seconds until the first rate limited key is back; None where the
            provider refused all keys.
        further: the usable keys of its fallback providers, in order.
    """

    retry_after: int | None
    further: tuple[FurtherKey, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored key of the user that can't be decrypted.

    Attributes:
        why: for the log.
    """

    why: str


@dataclass(frozen=True, slots=True)
class FurtherCredential:
    """A credential for a further try of a request.

    Attributes:
        value: for the header of the first credential.
        hint: the masked key, for the access log.
        key_index: the key's place in the pool; None for the only key of a provider.
        provider: the name and the base URL of the fallback provider; None for the request's own.
    """

    value: Secret
    hint: str
    key_index: int | None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Allow:
    """The request may pass.

    Attributes:
        provider: its name; None for a request that goes to no provider.
        mode: None where no provider credential is involved.
        header: the one credential header to keep, if any; Envoy removes all others.
        credential: the value of that header, or None to keep the user's value.
        hint: the masked credential, for the access log.
        token_headers: further headers to remove: they hold a Coder token, choose an account, or
            the configuration lists them as credentials. ``header`` and ``headers`` win.
        headers: further headers to set, with their values.
        query: names of query parameters to remove: they hold a credential or choose an account.
        key_index: the key's place in the pool; None where there is no pool.
        appended: headers to append to the client's, with their values.
        further: credentials for the tries after a refusal of the provider. Without a credential
            of its own, a request with some of these begins with the first of them.
        further_header: the header of all those.
    """

    identity: Identity
    provider: str | None
    mode: Mode | None
    header: str | None
    credential: Secret | None
    hint: str
    token_headers: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[str, ...] = ()
    key_index: int | None = None
    appended: tuple[tuple[str, str], ...] = ()
    further: tuple[FurtherCredential, ...] = ()
    further_header: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """The request is refused.

    Attributes:
        refusal: the row in the table of refusals.
        message: the text for the person at the client, with its fields filled in.
        identity: the owner of the token, where the token was valid.
        retry_after: seconds after which a client may try again.
    """

    refusal: Refusal
    message: str
    identity: Identity | None = None
    token_id: str | None = None
    retry_after: int | None = None

    @property
    def reason(self) -> Reason | Rejection:
        """The word for the log and the metrics."""
        return self.refusal.reason

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.refusal.status

    @property
    def error_type(self) -> str:
        """Anthropic's name of the error class."""
        return self.refusal.error_type

    @property
    def code(self) -> str:
        """The word for the client."""
        return self.refusal.code


Decision: TypeAlias = Allow | Deny


def refuse(
    reason: Reason | Rejection,
    fields: Mapping[str, object] = MappingProxyType({}),
    identity: Identity | None = None,
    token_id: str | None = None,
    retry_after: int | None = None,
) -> Deny:
    """Return the refusal for a reason.

    Args:
        fields: values for the fields of the table's message.

    Raises:
        KeyError: the message has a field without a value.
    """
    refusal = REFUSALS[reason]
    return Deny(refusal, refusal.message.format_map(fields), identity, token_id, retry_after)
