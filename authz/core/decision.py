"""The decision, a pure function: no I/O, no protobuf, no framework.

``precheck`` decides what it can before the token is looked up; ``decide`` decides the rest.
"""

from collections.abc import Mapping
from dataclasses import replace

from authz.core import advice, query, tokens
from authz.core.choice import Choice, fallback_only, with_further, with_key
from authz.core.credentials import Credentials
from authz.core.decision_types import (
    OPEN_HINT,
    SIGNED_HINT,
    Allow,
    ChosenKey,
    Decision,
    Deny,
    Exhausted,
    Route,
    RouteKind,
    Unreadable,
    refuse,
)
from authz.core.further_headers import further_headers, further_removed
from authz.core.header_names import (
    AUTHORIZATION,
    GOVERNANCE,
    SUBPROTOCOL,
    X_API_KEY,
)
from authz.core.identity import Identity, Rejection
from authz.core.permissions import Limiter, Use, permit
from authz.core.providers import ProviderType
from authz.core.query import QueryCredentials
from authz.core.refusals import Reason, no_websocket
from authz.core.rules import Mode
from authz.core.tokens import CoderToken
from authz.secret import Secret


def precheck(
    credentials: Credentials,
    provider_type: ProviderType | None,
    *,
    allow_byok: bool,
    in_query: QueryCredentials = query.NONE,
) -> CoderToken | Deny:
    """Find the Coder token of a request, or refuse the request without a look-up.

    The check of ``allow_byok`` comes before the token, as in Coder.

    Args:
        credentials: of the request.
        provider_type: from the route; None for a path of no provider.
        allow_byok: the setting.
        in_query: the credentials in the query; they count as the user's own.

    Returns:
        The token to look up, or the refusal.
    """
    if any(name.startswith(":") for name in credentials.token_headers):
        return refuse(Reason.TOKEN_IN_URL)
    own = own_credential(credentials, provider_type)
    in_url = credentials.governance is not None and in_query.plain
    if not allow_byok and (own is not None or in_url):
        return refuse(Reason.BYOK_DISABLED, {"advice": advice.BYOK_DISABLED})
    places = _token_places(credentials, provider_type)
    if not places:
        return refuse(Reason.TOKEN_MISSING)
    for _, value in places:
        token = tokens.parse(value.reveal())
        if token is not None:
            return token
    headers = [header for header, _ in places]
    return refuse(Reason.TOKEN_MALFORMED, advice.token_malformed(headers))


def _token_places(
    credentials: Credentials, provider_type: ProviderType | None
) -> list[tuple[str, Secret]]:
    """Return the headers in which the Coder token may be, with their values.

    With the governance header, the other headers are for the user's own credential. Without it, a
    client may send something else in one of them, such as the credential of its log-in or
    ``undefined``.
    """
    if credentials.governance is not None:
        return [(GOVERNANCE, credentials.governance)]
    places = [(AUTHORIZATION, credentials.bearer), (X_API_KEY, credentials.api_key)]
    if provider_type is not None and provider_type.token_header:
        header = provider_type.token_header
        places.append((header, credentials.named(header)))
    places.append((SUBPROTOCOL, credentials.subprotocol_token))
    return [(header, value) for header, value in places if value is not None]


def decide(
    credentials: Credentials,
    route: Route,
    token: CoderToken,
    verification: Identity | Rejection,
    central_key: ChosenKey | Exhausted | None,
    *,
    allow_byok: bool,
    stored: Secret | Unreadable | None = None,
) -> Decision:
    """Decide on a request whose token was looked up.

    Args:
        credentials: of the request; ``precheck`` has passed them.
        route: from Envoy.
        token: the return value of ``precheck``.
        verification: the identity source's answer for the token.
        central_key: the company's key for this request, if there is one.
        allow_byok: the setting. ``precheck`` has acted on it for the user's own credentials in the
            request; here it is for stored keys and the text of a refusal.
        stored: the key that the user has stored for the provider. It counts as their own
            credential where the request has none.

    Returns:
        The one credential for the provider, or the refusal.
    """
    if isinstance(verification, Rejection):
        return refuse(verification, token_id=token.id)
    if route.kind is RouteKind.AUTHZ:
        return Allow(
            identity=verification,
            provider=None,
            mode=None,
            header=None,
            credential=None,
            hint="",
            token_headers=credentials.token_headers,
        )

    def denied(
        reason: Reason, fields: Mapping[str, object], retry_after: int | None = None
    ) -> Deny:
        return refuse(reason, fields, verification, token.id, retry_after)

    if route.websocket_refused:
        upgrade = no_websocket()
        return Deny(upgrade, upgrade.message, verification, token.id)

    def forbidden(provider: str, mode: Mode | None = None) -> Deny | None:
        use = Use(provider, mode)
        permission = permit(verification.rules, verification.memberships, use)
        if permission.refused_by is None:
            return None
        if permission.refused_by is Limiter.GROUP:
            reason = Reason.GROUP_PROVIDER if mode is None else Reason.GROUP_MODE
            groups = advice.limiting_groups(permission)
            text = advised(advice.LIMITED_BY_GROUP, mode)
            return denied(reason, {"use": use.text, "groups": groups, "advice": text})
        reason = Reason.RULE_PROVIDER if mode is None else Reason.RULE_MODE
        text = advised(advice.LIMITED_TOKEN, mode)
        return denied(reason, {"use": use.text, "rules": verification.rules, "advice": text})

    def advised(usual: str, mode: Mode | None = Mode.BYOK) -> str:
        """Return the advice to delete a stored key where the request would pass without it."""
        if stored is None or mode is not Mode.BYOK or route.provider is None:
            return usual
        other = _choose(credentials, route, central_key, None)
        if other is None or (isinstance(other, Choice) and other.mode is not Mode.CENTRALIZED):
            return usual
        use = Use(route.provider, Mode.CENTRALIZED)
        if not permit(verification.rules, verification.memberships, use).allowed:
            return usual
        return advice.stored_key_in_use(route.provider, verification.username)

    def permits(fallback: str | None) -> bool:
        if fallback is None:
            return True
        rules, memberships = verification.rules, verification.memberships
        name = fallback.partition(" ")[0]
        uses = (Use(name, None), Use(name, Mode.CENTRALIZED))
        return fallback in route.fallbacks and all(
            permit(rules, memberships, use).allowed for use in uses
        )

    has_own = own_credential(credentials, route.type) is not None
    if has_own or (route.keyless and not allow_byok):
        stored = None
    own_missing = route.own_only and not has_own and stored is None
    if route.provider is None or route.type is None or not route.supported or own_missing:
        return denied(Reason.ROUTE_NOT_SUPPORTED, {"label": route.label})
    if refusal := forbidden(route.provider):
        return refusal
    needs_own = credentials.governance is not None and not has_own
    problem = advice.problem_in_query(route.query, route.type, needs_own=needs_own)
    if problem:
        return denied(Reason.KEY_IN_URL, {"problem": problem})
    if stored is not None and not allow_byok:
        return denied(Reason.BYOK_DISABLED, {"advice": advised(advice.BYOK_DISABLED)})
    if isinstance(stored, Unreadable) and not route.keyless:
        if refusal := forbidden(route.provider, Mode.BYOK):
            return refusal
        return denied(Reason.OWN_KEY_UNREADABLE, {"provider": route.provider})
    if isinstance(central_key, ChosenKey | Exhausted) and central_key.further:
        passing = [one for one in central_key.further if permits(one.provider)]
        central_key = replace(central_key, further=tuple(passing))
    choice = _choose(credentials, route, central_key, stored)
    if choice is None:
        fields = advice.credential_required(route, allow_byok=allow_byok)
        return denied(Reason.CREDENTIAL_REQUIRED, fields)
    mode = Mode.CENTRALIZED if isinstance(choice, Exhausted) else choice.mode
    if refusal := forbidden(route.provider, mode):
        return refusal
    if isinstance(choice, Exhausted):
        seconds, provider = choice.retry_after, route.provider
        if seconds is None:
            return denied(Reason.KEYS_REFUSED, {"provider": provider})
        return denied(Reason.KEYS_LIMITED, {"provider": provider, "seconds": seconds}, seconds)
    is_central = choice.mode is Mode.CENTRALIZED
    return Allow(
        identity=verification,
        provider=route.provider,
        mode=choice.mode,
        header=choice.header,
        credential=choice.credential,
        hint=choice.hint,
        token_headers=credentials.token_headers
        + further_removed(credentials, is_central=is_central)
        + route.removed,
        headers=further_headers(credentials, route, verification, is_central=is_central),
        query=route.query.plain + (route.query.accounts if is_central else ()),
        key_index=choice.key_index,
        appended=choice.appended,
        further=choice.further,
        further_header=choice.further_header or "",
    )


def _choose(
    credentials: Credentials,
    route: Route,
    central_key: ChosenKey | Exhausted | None,
    stored: Secret | Unreadable | None,
) -> Choice | Exhausted | None:
    """Choose the credential for the provider.

    Returns:
        None without any credential, and ``Exhausted`` while all central keys are on cooldown.
    """
    own = own_credential(credentials, route.type)
    if own is not None and route.type is not None:
        header, value = own
        if header != AUTHORIZATION and value.reveal().startswith(route.type.bearer_prefixes):
            # The provider refuses this credential in the header of API keys.
            return Choice(Mode.BYOK, AUTHORIZATION, Secret(f"Bearer {value.reveal()}"), value.hint)
        return Choice(Mode.BYOK, header, None, value.hint)
    if isinstance(stored, Secret) and route.type is not None:
        return with_key(Mode.BYOK, route.type, stored)
    if route.keyless:
        return Choice(Mode.BYOK, None, None, "")
    if not route.central_key or route.type is None:
        return None
    if route.open or (route.signed and route.type.signed):
        return Choice(Mode.CENTRALIZED, None, None, OPEN_HINT if route.open else SIGNED_HINT)
    if central_key is None or route.type.central_header is None:
        return None
    if isinstance(central_key, Exhausted):
        return fallback_only(route.type, central_key.further) or central_key
    choice = with_key(Mode.CENTRALIZED, route.type, central_key.key, central_key.index)
    return with_further(choice, route.type, central_key.further) if route.retries else choice


def own_credential(
    credentials: Credentials, provider_type: ProviderType | None
) -> tuple[str, Secret] | None:
    """Find the user's own provider credential.

    It needs the governance header; without one, ``Authorization`` and ``X-Api-Key`` are for
    the Coder token. A Coder token is never a provider credential.

    Returns:
        The name of its header and its value, or None.
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
        if not holds_token and not tokens.has_token_shape(text) and not tokens.holds_token(text):
            return header, value
    return None
