"""Texts for the person at the client: the problem with a request, and what to do about it."""

from collections.abc import Sequence

from authz.core.decision_types import Route
from authz.core.header_names import AUTHORIZATION, GOVERNANCE
from authz.core.permissions import Limiter, Permission
from authz.core.providers import ProviderType
from authz.core.query import QueryCredentials

_NAMED = 2
"""A text names this many headers; clients have the first ones."""
_GROUPS = 3
"""A text names this many groups; a user may be in many."""

BYOK_DISABLED = "Remove your own provider credential, or ask your administrator to enable it."
LIMITED_TOKEN = "Use another token."  # noqa: S105 - a text, no secret
LIMITED_BY_GROUP = "Ask your administrator."


def token_malformed(headers: Sequence[str]) -> dict[str, str]:
    """Return the fields of the message for headers that hold something else than a Coder token.

    Args:
        headers: names of the headers with a value, in lower case.
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
    return {"headers": f"{names} {verb}", "advice": advice}


def credential_required(route: Route, *, allow_byok: bool) -> dict[str, str]:
    """Return the fields of the message for a request with neither a central nor an own key."""
    assert route.type is not None  # noqa: S101 - a route without a type is a 404
    problem = f'Provider "{route.provider}" has no central key'
    if not route.central_key:
        problem = f'The central key of provider "{route.provider}" is not for this path'
    headers = _own_header_names(route.type)
    if allow_byok:
        advice = (
            f"send your own credential in {headers}, and the Coder token in "
            "X-Coder-AI-Governance-Token."
        )
    else:
        advice = (
            f"it needs your own credential in {headers}, but Bring Your Own Key (BYOK) is switched "
            "off here (allow_byok: false). Ask your administrator to enable it."
        )
    return {"problem": problem, "advice": advice}


def limiting_groups(permission: Permission) -> str:
    """Return the groups with rules and their limits, such as ``your group "ml" is limited to x``.

    Args:
        permission: with at least one group that limits its members.
    """
    of_groups = [one for one in permission.findings if one.limiter is Limiter.GROUP]
    if len(of_groups) == 1:
        return f'your group "{of_groups[0].name}" is limited to {of_groups[0].rules}'
    texts = [f'"{one.name}" is limited to {one.rules}' for one in of_groups[:_GROUPS]]
    if len(of_groups) > _GROUPS:
        texts.append(f"and {len(of_groups) - _GROUPS} more")
    return f"none of your groups allows it ({', '.join(texts)})"


def stored_key_in_use(provider: str, username: str) -> str:
    """Return the advice for a request that would pass if its user had stored no key."""
    return (
        f'The request uses the key that you have stored for provider "{provider}". Delete it under '
        "Provider keys on the gateway's page, or ask your administrator to run 'authz own-keys "
        f"remove {provider} --user {username}'. Then the company's key is used."
    )


def problem_in_query(
    found: QueryCredentials, provider_type: ProviderType, *, needs_own: bool
) -> str | None:
    """Return the text about a problem with the credentials in a query, or None.

    Args:
        found: the credentials in the query.
        provider_type: from the route.
        needs_own: whether the request is to use the user's own key and has none in a header. If we
            only removed the one in the query, the company would pay for a request that the user
            meant to pay for.
    """
    if found.override is not None:
        return override_in_query(found.override)
    if found.hidden:
        return hidden_key_in_query()
    return own_key_in_query(found, provider_type) if found.plain and needs_own else None


def override_in_query(name: str) -> str:
    """Return the text for a query parameter that replaces headers or the method."""
    return (
        f"The query parameter {name} would replace headers or the method of the request. "
        "Leave it out."
    )


def hidden_key_in_query() -> str:
    """Return the text for a credential in the query that has an ambiguous spelling."""
    return (
        "A parameter of the URL's query is a credential or chooses an account, in a spelling "
        "that can be read in two ways. Send it in a header."
    )


def own_key_in_query(found: QueryCredentials, provider_type: ProviderType) -> str:
    """Return the text for the user's own credential in the query."""
    return (
        f"Your own credential is in the URL's query ({', '.join(found.plain)}). Send it in "
        f"{_own_header_names(provider_type)}; without it the central key is used."
    )


def _own_header_names(provider_type: ProviderType) -> str:
    return " or ".join(map(_title, provider_type.own_headers[:_NAMED]))


def _title(header: str) -> str:
    names = {AUTHORIZATION: "Authorization: Bearer", GOVERNANCE: "X-Coder-AI-Governance-Token"}
    return names.get(header, header.title())
