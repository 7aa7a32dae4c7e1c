"""The decision, a pure function of facts: no I/O, no protobuf, no framework.

``precheck`` says what can be said before the token is looked up, ``decide`` the rest.
"""

from dataclasses import dataclass

from authz.core import query, refusals, tokens
from authz.core.credentials import SUBPROTOCOL, Credentials
from authz.core.header_names import AUTHORIZATION, CREDENTIAL_HEADERS, GOVERNANCE, X_API_KEY
from authz.core.identity import Identity, Rejection
from authz.core.outcome import (
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
from authz.core.providers import ProviderType
from authz.core.query import QueryCredentials
from authz.core.tokens import CoderToken
from authz.secret import Secret

__all__ = [
    "Allow",
    "Deny",
    "Kind",
    "Mode",
    "Reason",
    "Route",
    "decide",
    "own_credential",
    "precheck",
]


def precheck(
    credentials: Credentials,
    provider_type: ProviderType | None,
    *,
    allow_byok: bool,
    in_query: QueryCredentials = query.NONE,
) -> CoderToken | Deny:
    """Find the Coder token of a request, or refuse it without a look-up.

    The BYOK gate comes before the token, as Coder has it.

    Args:
        credentials: what the request brings.
        provider_type: from the route; None for a path of no provider.
        allow_byok: the setting.
        in_query: what stands in the query; a credential there counts as the user's own.

    Returns:
        The token to look up, or the refusal.
    """
    if any(name.startswith(":") for name in credentials.token_headers):
        return refusals.token_in_url()
    own = own_credential(credentials, provider_type)
    in_url = credentials.governance is not None and in_query.plain
    if not allow_byok and (own is not None or in_url):
        return refusals.byok_disabled()
    places = _token_places(credentials, provider_type)
    if not places:
        return refusals.missing_token()
    for _, value in places:
        token = tokens.parse(value.reveal())
        if token is not None:
            return token
    return refusals.no_token([header for header, _ in places])


def _token_places(
    credentials: Credentials, provider_type: ProviderType | None
) -> list[tuple[str, Secret]]:
    """Return the headers in which the Coder token may be, with their values.

    Beside the governance header the others are for a credential of the user's own. Without it, a
    client may well send something else in one of them: what its log-in left there, or
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
) -> Allow | Deny:
    """Decide on a request whose token was looked up.

    Args:
        credentials: what the request brings; ``precheck`` has passed it.
        route: from Envoy.
        token: what ``precheck`` returned.
        verification: what the identity source says of it.
        central_key: the company's key for this request, if there is one.
        allow_byok: the setting, for the text of a refusal; ``precheck`` has acted on it.

    Returns:
        The one credential that the provider gets, or the refusal.
    """
    if isinstance(verification, Rejection):
        return refusals.bad_token(verification, token.id)
    if route.kind is Kind.OWN:
        return Allow(
            identity=verification,
            provider=None,
            mode=None,
            header=None,
            credential=None,
            hint="",
            token_headers=credentials.token_headers,
        )
    own_missing = route.own_only and own_credential(credentials, route.type) is None
    if route.provider is None or route.type is None or not route.supported or own_missing:
        return refusals.not_served(route, verification, token)
    if not verification.rules.allow_provider(route.provider):
        return refusals.against_rules(
            Reason.RULE_PROVIDER, f'provider "{route.provider}"', verification, token
        )
    passed = _passed(credentials, route, central_key)
    in_url = _wrong_in_query(credentials, route, route.type)
    if in_url:
        return refusals.key_in_url(in_url, verification, token)
    if passed is None:
        return refusals.credential_required(route, verification, token, allow_byok=allow_byok)
    used = Mode.CENTRALIZED if isinstance(passed, Exhausted) else passed.mode
    if not verification.rules.allow_mode(used):
        return refusals.against_rules(Reason.RULE_MODE, used.text, verification, token)
    if isinstance(passed, Exhausted):
        return refusals.exhausted(passed, route, verification, token)
    is_central = passed.mode is Mode.CENTRALIZED
    return Allow(
        identity=verification,
        provider=route.provider,
        mode=passed.mode,
        header=passed.header,
        credential=passed.credential,
        hint=passed.hint,
        token_headers=credentials.token_headers
        + _further_removed(credentials, is_central=is_central),
        headers=_further_headers(credentials, route, is_central=is_central),
        query=route.query.plain + (route.query.accounts if is_central else ()),
        key_index=passed.key_index,
    )


@dataclass(frozen=True, slots=True)
class _Passed:
    """What the provider gets: the mode, the header, and the value to put there."""

    mode: Mode
    header: str | None
    credential: Secret | None
    hint: str
    key_index: int | None = None


def _passed(
    credentials: Credentials, route: Route, central_key: ChosenKey | Exhausted | None
) -> _Passed | Exhausted | None:
    """Choose what the provider gets; None is for nothing, and ``Exhausted`` for nothing now."""
    own = own_credential(credentials, route.type)
    if own is not None and route.type is not None:
        header, value = own
        if header != AUTHORIZATION and value.reveal().startswith(route.type.bearer_prefixes):
            # The provider refuses it where an API key belongs.
            return _Passed(Mode.BYOK, AUTHORIZATION, Secret(f"Bearer {value.reveal()}"), value.hint)
        return _Passed(Mode.BYOK, header, None, value.hint)
    if route.keyless:
        return _Passed(Mode.BYOK, None, None, "")
    if not route.central_key or route.type is None:
        return None
    if route.open or (route.signed and route.type.signed):
        return _Passed(Mode.CENTRALIZED, None, None, OPEN_HINT if route.open else SIGNED_HINT)
    header_name = route.type.central_header
    if central_key is None or header_name is None:
        return None
    if isinstance(central_key, Exhausted):
        return central_key
    key = central_key.key
    value = Secret(route.type.credential_value(key.reveal()))
    return _Passed(Mode.CENTRALIZED, header_name, value, key.hint, central_key.index)


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
        if not holds_token and not tokens.has_token_shape(text) and not tokens.holds_token(text):
            return header, value
    return None


def _wrong_in_query(
    credentials: Credentials, route: Route, provider_type: ProviderType
) -> str | None:
    """Say what is wrong with the query, if anything is."""
    found = route.query
    if found.override is not None:
        return (
            f"The query parameter {found.override} would replace headers or the method of the "
            "request. Leave it out."
        )
    if found.hidden:
        return (
            "A parameter of the URL's query is a credential or chooses an account, in a spelling "
            "that can be read in two ways. Send it in a header."
        )
    if not found.plain or credentials.governance is None:
        return None
    if own_credential(credentials, provider_type) is not None:
        # Their own key is used anyway.
        return None
    # Removed in silence, the company would pay for what somebody meant to pay themselves.
    return (
        f"Your own credential stands in the URL's query ({', '.join(found.plain)}). Send it in "
        f"{refusals.own_header_names(provider_type)}; without it the central key is used."
    )


def _further_removed(credentials: Credentials, *, is_central: bool) -> tuple[str, ...]:
    """Return what is removed beside ``CREDENTIAL_HEADERS`` and headers with a Coder token.

    With the company's key, which account pays is the company's choice.
    """
    removed = [name for name, _ in credentials.others if name not in CREDENTIAL_HEADERS]
    if is_central:
        removed += credentials.accounts
    if _subprotocols(credentials, is_central=is_central) == "":
        removed.append(SUBPROTOCOL)
    return tuple(removed)


def _further_headers(
    credentials: Credentials, route: Route, *, is_central: bool
) -> tuple[tuple[str, str], ...]:
    headers = route.accounts if is_central else ()
    subprotocols = _subprotocols(credentials, is_central=is_central)
    if subprotocols and SUBPROTOCOL not in credentials.token_headers:
        headers = (*headers, (SUBPROTOCOL, subprotocols))
    return headers


def _subprotocols(credentials: Credentials, *, is_central: bool) -> str | None:
    """Return the subprotocols for the provider; None where the header stays as it came."""
    if is_central and credentials.central_subprotocols is not None:
        return credentials.central_subprotocols
    return credentials.subprotocols
