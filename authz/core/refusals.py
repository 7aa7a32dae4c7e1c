"""The refusals that a decision can be, each with its text for the person at the client."""

from collections.abc import Sequence

from authz.core.header_names import AUTHORIZATION, GOVERNANCE
from authz.core.identity import Identity, Rejection
from authz.core.outcome import Deny, Exhausted, Reason, Route
from authz.core.providers import ProviderType
from authz.core.tokens import CoderToken

_NAMED = 2
"""How many headers a text names; the first are those that clients have."""


def byok_disabled() -> Deny:
    """Refuse an own credential where the setting is off."""
    return Deny(
        status=403,
        error_type="permission_error",
        code="byok_disabled",
        message="Bring Your Own Key (BYOK) is switched off here (allow_byok: false). "
        "Remove your own provider credential, or ask your administrator to enable it.",
        reason=Reason.BYOK_DISABLED,
    )


def missing_token() -> Deny:
    """Refuse a request in which no header can hold a Coder token."""
    return Deny(
        status=401,
        error_type="authentication_error",
        code="missing_token",
        message="No Coder token was sent. Send it as Authorization: Bearer or as X-Api-Key, or "
        "in X-Coder-AI-Governance-Token beside your own provider credential.",
        reason=Reason.TOKEN_MISSING,
    )


def token_in_url() -> Deny:
    """Refuse a Coder token in the URL, which is logged along the way."""
    return Deny(
        status=400,
        error_type="invalid_request_error",
        code="token_in_url",
        message="The Coder token is part of the URL. Send it in a header only.",
        reason=Reason.TOKEN_IN_URL,
    )


def no_token(headers: Sequence[str]) -> Deny:
    """Refuse a request whose headers hold something else where a Coder token belongs.

    Args:
        headers: in which there is something, in lower case.
    """
    names = " and ".join(_title(header) for header in headers)
    verb = "holds" if len(headers) == 1 else "hold"
    if GOVERNANCE in headers:
        advice = "Put your Coder token there, and your own credential in the provider's header."
    else:
        advice = (
            "Put your Coder token there; to use a credential of your own, leave it there and send "
            "the Coder token in X-Coder-AI-Governance-Token."
        )
    return Deny(
        status=401,
        error_type="authentication_error",
        code="invalid_token",
        message=f"{names} {verb} no Coder token (10 letters or digits, a hyphen, 22 letters or "
        f"digits). {advice}",
        reason=Reason.TOKEN_MALFORMED,
    )


def bad_token(reason: Rejection, token_id: str) -> Deny:
    """Refuse a token; one text for all, so that no answer says whether a token id exists."""
    return Deny(
        status=401,
        error_type="authentication_error",
        code="invalid_token",
        message="The Coder token is not valid. Create a new one and try again.",
        reason=reason,
        token_id=token_id,
    )


def not_served(route: Route, identity: Identity, token: CoderToken) -> Deny:
    """Refuse a path or provider that is not served."""
    return Deny(
        status=404,
        error_type="not_found_error",
        code="route_not_supported",
        message=f"route not supported: {route.label}",
        reason=Reason.ROUTE_NOT_SUPPORTED,
        identity=identity,
        token_id=token.id,
    )


def key_in_url(what: str, identity: Identity, token: CoderToken) -> Deny:
    """Refuse a query that would go round the rules about headers.

    Args:
        what: is there, and what to do about it.
    """
    return Deny(
        status=400,
        error_type="invalid_request_error",
        code="key_in_url",
        message=what,
        reason=Reason.KEY_IN_URL,
        identity=identity,
        token_id=token.id,
    )


def credential_required(
    route: Route, identity: Identity, token: CoderToken, *, allow_byok: bool
) -> Deny:
    """Refuse a request that has neither a central key nor an own credential."""
    assert route.type is not None  # noqa: S101 - a route without one is a 404
    what = f'Provider "{route.provider}" has no central key'
    if not route.central_key:
        what = f'The central key of provider "{route.provider}" is not for this path'
    headers = own_header_names(route.type)
    advice = (
        f"send your own credential in {headers}, and the Coder token in "
        "X-Coder-AI-Governance-Token."
    )
    if not allow_byok:
        advice = (
            f"it needs your own credential in {headers}, but Bring Your Own Key (BYOK) is switched "
            "off here (allow_byok: false). Ask your administrator to enable it."
        )
    return Deny(
        status=401,
        error_type="authentication_error",
        code="provider_credential_required",
        message=f"{what}: {advice}",
        reason=Reason.CREDENTIAL_REQUIRED,
        identity=identity,
        token_id=token.id,
    )


def exhausted(keys: Exhausted, route: Route, identity: Identity, token: CoderToken) -> Deny:
    """Refuse since every central key rests."""
    if keys.retry_after is None:
        return Deny(
            status=502,
            error_type="api_error",
            code="central_keys_refused",
            message=f'Provider "{route.provider}" refuses every central key. '
            "Ask your administrator to replace them.",
            reason=Reason.KEYS_REFUSED,
            identity=identity,
            token_id=token.id,
        )
    return Deny(
        status=429,
        error_type="rate_limit_error",
        code="central_keys_limited",
        message=f'Every central key of provider "{route.provider}" is rate limited. '
        f"Try again in {keys.retry_after} s.",
        reason=Reason.KEYS_LIMITED,
        identity=identity,
        token_id=token.id,
        retry_after=keys.retry_after,
    )


def against_rules(reason: Reason, what: str, identity: Identity, token: CoderToken) -> Deny:
    """Refuse what the token is not for."""
    return Deny(
        status=403,
        error_type="permission_error",
        code="token_limited",
        message=f"This Coder token may not be used for {what}: it is limited to "
        f"{identity.rules}. Use another token.",
        reason=reason,
        identity=identity,
        token_id=token.id,
    )


def own_header_names(provider_type: ProviderType) -> str:
    """Return where the user's own credential goes, for a text."""
    return " or ".join(map(_title, provider_type.own_headers[:_NAMED]))


def _title(header: str) -> str:
    names = {AUTHORIZATION: "Authorization: Bearer", GOVERNANCE: "X-Coder-AI-Governance-Token"}
    return names.get(header, header.title())
