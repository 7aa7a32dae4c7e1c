"""What a decision is made of and what it says: facts in, outcomes out, as data."""

from dataclasses import dataclass
from enum import StrEnum

from authz.core import query
from authz.core.identity import Identity, Rejection
from authz.core.providers import ProviderType
from authz.core.query import QueryCredentials
from authz.core.rules import Mode
from authz.secret import Secret

__all__ = [
    "OPEN_HINT",
    "SIGNED_HINT",
    "Allow",
    "ChosenKey",
    "Deny",
    "Exhausted",
    "Kind",
    "Mode",
    "Reason",
    "Route",
]

SIGNED_HINT = "aws"
"""In the place of a masked key, where Envoy signs with AWS credentials."""
OPEN_HINT = "none"
"""In the place of a masked key, where the provider takes no credential."""


class Reason(StrEnum):
    """Why a request is refused, beside the reasons of ``Rejection``. For logs, not for clients."""

    BAD_HEADER = "bad_header"
    TOKEN_IN_URL = "token_in_url"  # noqa: S105 - a reason, no secret
    KEY_IN_URL = "key_in_url"
    TOKEN_MISSING = "token_missing"  # noqa: S105
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    BYOK_DISABLED = "byok_disabled"
    ROUTE_NOT_SUPPORTED = "route_not_supported"
    CREDENTIAL_REQUIRED = "credential_required"
    KEYS_LIMITED = "keys_limited"
    KEYS_REFUSED = "keys_refused"
    RULE_PROVIDER = "token_rule_provider"
    RULE_MODE = "token_rule_mode"


class Kind(StrEnum):
    """What a route leads to."""

    PROVIDER = "provider"
    CONNECT = "connect"
    """A CONNECT to the AI Gateway Proxy."""
    OWN = "own"
    """Something that authz serves itself, to anybody with a token."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where the request goes, as Envoy's route says.

    Attributes:
        provider: the provider's name; None for a path of no provider.
        type: its type; None exactly when ``provider`` is.
        supported: whether the provider's type lists this method and path.
        own_only: whether that is so for the user's own credential only, and is a 404 without it.
        label: ``METHOD /path`` and advice for the text of a 404, nothing is decided on it.
        central_key: whether the central key may be used for this path.
        keyless: whether the provider answers here without a credential, too.
        signed: whether Envoy signs what has no credential of the user's own, so that no central
            key is needed.
        open: whether the provider takes no credential at all, so that no central key is needed.
        query: what credentials stand in the query.
        accounts: headers that a centralized request gets, with their values.
    """

    provider: str | None = None
    type: ProviderType | None = None
    supported: bool = False
    own_only: bool = False
    label: str = ""
    kind: Kind = Kind.PROVIDER
    central_key: bool = True
    keyless: bool = False
    signed: bool = False
    open: bool = False
    query: QueryCredentials = query.NONE
    accounts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ChosenKey:
    """A central key for one request.

    Attributes:
        index: its place in the pool; None where there is only one key, which never rests.
    """

    key: Secret
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Every central key of a provider rests.

    Attributes:
        retry_after: whole seconds until the first key that the provider's rate limit put to rest
            is back; None where the provider refused them all.
    """

    retry_after: int | None


@dataclass(frozen=True, slots=True)
class Allow:
    """The request may pass.

    Attributes:
        provider: its name; None where the request goes to none.
        mode: None where no provider credential is involved.
        header: the one credential header that stays, if any; every other is removed.
        credential: the value to put there, or None to keep what the user sent.
        hint: the credential, masked, for the access log.
        token_headers: further headers to remove: those that hold a Coder token, that choose an
            account, or that the configuration calls credentials. ``header`` and ``headers`` win.
        headers: further headers to set, with their values.
        query: names of query parameters to remove, because a credential stands in them or because
            they choose an account.
        key_index: which key of a pool is used; None where there is no pool.
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


@dataclass(frozen=True, slots=True)
class Deny:
    """The request is refused.

    Attributes:
        status: HTTP status.
        error_type: Anthropic's name of the error class.
        code: machine-readable, safe to show.
        message: for the person at the client; names what to do.
        reason: the true reason, for logs only.
        identity: who it was, where that is proven.
        retry_after: seconds after which a client may try again.
    """

    status: int
    error_type: str
    code: str
    message: str
    reason: Reason | Rejection
    identity: Identity | None = None
    token_id: str | None = None
    retry_after: int | None = None
