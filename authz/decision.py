"""The decision, a pure function of facts: no I/O, no protobuf, no framework.

``screen`` says what can be said before the token is looked up, ``decide`` the rest. Both follow
``interface.md`` sections 5 and 6 and ``coder-contract.md`` 2.2 to 2.8.
"""

from authz import tokens
from authz.headers import AUTHORIZATION, GOVERNANCE, Credentials
from authz.identity import Identity, Rejection
from authz.outcome import (
    OPEN_HINT,
    SIGNED_HINT,
    Allow,
    ChosenKey,
    Deny,
    Exhausted,
    Kind,
    Mode,
    Reason,
    Route,
)
from authz.providers import ProviderType
from authz.secret import Secret
from authz.tokens import CoderToken

__all__ = [
    "Allow",
    "Deny",
    "Kind",
    "Mode",
    "Reason",
    "Route",
    "decide",
    "own_credential",
    "screen",
]


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
    if presented is None and provider_type is not None and provider_type.token_header:
        presented = credentials.named(provider_type.token_header)
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
    central_key: ChosenKey | Exhausted | None,
    *,
    allow_byok: bool,
) -> Allow | Deny:
    """Decide on a request whose token was looked up.

    Args:
        credentials: what the request brings; ``screen`` has passed it.
        route: from Envoy.
        token: what ``screen`` returned.
        verdict: what the identity source says of it.
        central_key: the company's key for this request, if there is one.
        allow_byok: the setting, for the text of a refusal; ``screen`` has acted on it.

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
    own_missing = route.own_only and own_credential(credentials, route.type) is None
    if route.provider is None or route.type is None or not route.supported or own_missing:
        return Deny(
            status=404,
            error_type="not_found_error",
            code="route_not_supported",
            message=f"route not supported: {route.label}",
            reason=Reason.ROUTE_NOT_SUPPORTED,
            identity=verdict,
            token_id=token.id,
        )
    if not verdict.rules.allow_provider(route.provider):
        return _against_rules(Reason.RULE_PROVIDER, f'provider "{route.provider}"', verdict, token)
    if route.query.hidden:
        return Deny(
            status=400,
            error_type="invalid_request_error",
            code="key_in_url",
            message="A credential stands in the URL's query. Send it in a header.",
            reason=Reason.KEY_IN_URL,
            identity=verdict,
            token_id=token.id,
        )
    passed = _passed(credentials, route, central_key)
    if passed is None:
        return _credential_required(route, verdict, token, allow_byok=allow_byok)
    used = Mode.CENTRALIZED if isinstance(passed, Exhausted) else passed[0]
    if not verdict.rules.allow_mode(used):
        return _against_rules(Reason.RULE_MODE, used.text, verdict, token)
    if isinstance(passed, Exhausted):
        return _exhausted(passed, route, verdict, token)
    mode, header, credential, hint, key_index = passed
    return Allow(
        identity=verdict,
        provider=route.provider,
        mode=mode,
        header=header,
        credential=credential,
        hint=hint,
        stray=credentials.stray,
        query=route.query.plain,
        key_index=key_index,
    )


def _passed(
    credentials: Credentials, route: Route, central_key: ChosenKey | Exhausted | None
) -> tuple[Mode, str | None, Secret | None, str, int | None] | Exhausted | None:
    """Choose what the provider gets: mode, header, value to put there, hint, place in the pool.

    None is for nothing, and ``Exhausted`` for nothing now.
    """
    own = own_credential(credentials, route.type)
    if own is not None:
        header, value = own
        return Mode.BYOK, header, None, value.hint, None
    if route.keyless:
        return Mode.BYOK, None, None, "", None
    if not route.central_key or route.type is None:
        return None
    if route.open or (route.signed and route.type.signed):
        hint = OPEN_HINT if route.open else SIGNED_HINT
        return Mode.CENTRALIZED, None, None, hint, None
    header_name = route.type.central_header
    if central_key is None or header_name is None:
        return None
    if isinstance(central_key, Exhausted):
        return central_key
    key = central_key.key
    value = Secret(route.type.credential_value(key.reveal()))
    return Mode.CENTRALIZED, header_name, value, key.hint, central_key.index


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


def _credential_required(
    route: Route, identity: Identity, token: CoderToken, *, allow_byok: bool
) -> Deny:
    assert route.type is not None  # noqa: S101 - a route without one is a 404
    what = f'Provider "{route.provider}" has no central key'
    if not route.central_key:
        what = f'The central key of provider "{route.provider}" is not for this path'
    headers = _header_names(route.type)
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


def _exhausted(keys: Exhausted, route: Route, identity: Identity, token: CoderToken) -> Deny:
    """Refuse since every central key rests (``coder-contract.md`` 2.6)."""
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


def _against_rules(reason: Reason, what: str, identity: Identity, token: CoderToken) -> Deny:
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


def _header_names(provider_type: ProviderType) -> str:
    names = {AUTHORIZATION: "Authorization: Bearer", GOVERNANCE: "X-Coder-AI-Governance-Token"}
    return " or ".join(names.get(h, h.title()) for h in provider_type.own_headers)
