"""The decision, a pure function of facts: no I/O, no protobuf, no framework.

``screen`` says what can be said before the token is looked up, ``decide`` the rest. Both follow
``interface.md`` sections 5 and 6 and ``coder-contract.md`` 2.2 to 2.8.
"""

from dataclasses import dataclass
from enum import StrEnum

from authz import tokens
from authz.headers import AUTHORIZATION, GOVERNANCE, Credentials
from authz.identity import Identity, Rejection
from authz.providers import ProviderType
from authz.secret import Secret
from authz.tokens import CoderToken


class Mode(StrEnum):
    """Whose credential reaches the provider."""

    CENTRALIZED = "centralized"
    BYOK = "byok"


class Reason(StrEnum):
    """Why a request is refused, beside the reasons of ``Rejection``. For logs, not for clients."""

    BAD_HEADER = "bad_header"
    TOKEN_IN_URL = "token_in_url"  # noqa: S105 - a reason, no secret
    TOKEN_MISSING = "token_missing"  # noqa: S105
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    BYOK_DISABLED = "byok_disabled"
    ROUTE_NOT_SUPPORTED = "route_not_supported"
    CREDENTIAL_REQUIRED = "credential_required"


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
        label: ``METHOD /path`` for the text of a 404, nothing is decided on it.
    """

    provider: str | None = None
    type: ProviderType | None = None
    supported: bool = False
    label: str = ""
    kind: Kind = Kind.PROVIDER


@dataclass(frozen=True, slots=True)
class Allow:
    """The request may pass.

    Attributes:
        provider: its name; None where the request goes to none.
        mode: None where no provider credential is involved.
        header: the one credential header that stays; every other is removed.
        credential: the value to put there, or None to keep what the user sent.
        hint: the credential, masked, for the access log.
        stray: further headers to remove, because a Coder token stands in them.
    """

    identity: Identity
    provider: str | None
    mode: Mode | None
    header: str | None
    credential: Secret | None
    hint: str
    stray: tuple[str, ...] = ()


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
    """

    status: int
    error_type: str
    code: str
    message: str
    reason: Reason | Rejection
    identity: Identity | None = None
    token_id: str | None = None


def screen(
    credentials: Credentials, provider_type: ProviderType | None, *, allow_byok: bool
) -> CoderToken | Deny:
    """Find the Coder token of a request, or refuse it without a look-up.

    The BYOK gate comes before the token, as Coder has it (``coder-contract.md`` 2.7).

    Args:
        credentials: what the request brings.
        provider_type: from the route; None for a path of no provider.
        allow_byok: the setting.

    Returns:
        The token to look up, or the refusal.
    """
    if not allow_byok and own_credential(credentials, provider_type) is not None:
        return Deny(
            status=403,
            error_type="permission_error",
            code="byok_disabled",
            message="Bring Your Own Key (BYOK) is switched off here (allow_byok: false). "
            "Remove your own provider credential, or ask your administrator to enable it.",
            reason=Reason.BYOK_DISABLED,
        )
    presented = credentials.governance or credentials.bearer or credentials.api_key
    if presented is None:
        return Deny(
            status=401,
            error_type="authentication_error",
            code="missing_token",
            message="No Coder token was sent. Send it as Authorization: Bearer or as X-Api-Key, or "
            "in X-Coder-AI-Governance-Token beside your own provider credential.",
            reason=Reason.TOKEN_MISSING,
        )
    if any(name.startswith(":") for name in credentials.stray):
        return Deny(
            status=400,
            error_type="invalid_request_error",
            code="token_in_url",
            message="The Coder token is part of the URL. Send it in a header only.",
            reason=Reason.TOKEN_IN_URL,
        )
    return tokens.parse(presented.reveal()) or _bad_token(Reason.TOKEN_MALFORMED, None)


def decide(
    credentials: Credentials,
    route: Route,
    token: CoderToken,
    verdict: Identity | Rejection,
    central_key: Secret | None,
) -> Allow | Deny:
    """Decide on a request whose token was looked up.

    Args:
        credentials: what the request brings; ``screen`` has passed it.
        route: from Envoy.
        token: what ``screen`` returned.
        verdict: what the identity source says of it.
        central_key: the company's key for this provider, if there is one.

    Returns:
        The one credential that the provider gets, or the refusal.
    """
    if isinstance(verdict, Rejection):
        return _bad_token(verdict, token.id)
    if route.kind is Kind.OWN:
        return Allow(
            identity=verdict,
            provider=None,
            mode=None,
            header=None,
            credential=None,
            hint="",
            stray=credentials.stray,
        )
    if route.provider is None or route.type is None or not route.supported:
        return Deny(
            status=404,
            error_type="not_found_error",
            code="route_not_supported",
            message=f"route not supported: {route.label}",
            reason=Reason.ROUTE_NOT_SUPPORTED,
            identity=verdict,
            token_id=token.id,
        )
    own = own_credential(credentials, route.type)
    if own is not None:
        header, value = own
        return Allow(
            identity=verdict,
            provider=route.provider,
            mode=Mode.BYOK,
            header=header,
            credential=None,
            hint=value.hint,
            stray=credentials.stray,
        )
    if central_key is None or route.type.central_header is None:
        return Deny(
            status=401,
            error_type="authentication_error",
            code="provider_credential_required",
            message=f'Provider "{route.provider}" has no central key: send your own credential in '
            f"{_header_names(route.type)}, and the Coder token in X-Coder-AI-Governance-Token.",
            reason=Reason.CREDENTIAL_REQUIRED,
            identity=verdict,
            token_id=token.id,
        )
    return Allow(
        identity=verdict,
        provider=route.provider,
        mode=Mode.CENTRALIZED,
        header=route.type.central_header,
        credential=Secret(route.type.credential_value(central_key.reveal())),
        hint=central_key.hint,
        stray=credentials.stray,
    )


def own_credential(
    credentials: Credentials, provider_type: ProviderType | None
) -> tuple[str, Secret] | None:
    """Find the user's own provider credential.

    It counts only beside the governance header: without one, what stands in ``Authorization`` or
    ``X-Api-Key`` is the Coder token's place. A Coder token is nobody's provider credential.

    Returns:
        The header that it came in and its value, or None.
    """
    if credentials.governance is None or provider_type is None:
        return None
    governance = credentials.governance.reveal()
    for header in provider_type.own_headers:
        value = credentials.named(header)
        if value is None:
            continue
        text = value.reveal()
        holds_token = tokens.has_token_shape(governance) and governance in text
        if not tokens.has_token_shape(text) and not holds_token:
            return header, value
    return None


def _bad_token(reason: Reason | Rejection, token_id: str | None) -> Deny:
    # One text for every bad token: no answer says whether a token id exists.
    return Deny(
        status=401,
        error_type="authentication_error",
        code="invalid_token",
        message="The Coder token is not valid. Create a new one and try again.",
        reason=reason,
        token_id=token_id,
    )


def _header_names(provider_type: ProviderType) -> str:
    names = {AUTHORIZATION: "Authorization: Bearer", GOVERNANCE: "X-Coder-AI-Governance-Token"}
    return " or ".join(names.get(h, h.title()) for h in provider_type.own_headers)
