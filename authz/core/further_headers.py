"""The headers that a decision changes beside the one with the credential."""

from authz.core.credentials import Credentials
from authz.core.decision_types import Route
from authz.core.header_names import ACTOR_ID, ACTOR_NAME, CREDENTIAL_HEADERS, SUBPROTOCOL
from authz.core.identity import Identity


def further_removed(credentials: Credentials, *, is_central: bool) -> tuple[str, ...]:
    """Return headers to remove beside ``CREDENTIAL_HEADERS`` and headers with a Coder token.

    With a central key the company chooses the account that pays.
    """
    removed = [name for name, _ in credentials.others if name not in CREDENTIAL_HEADERS]
    if is_central:
        removed += credentials.accounts
    if _subprotocols(credentials, is_central=is_central) == "":
        removed.append(SUBPROTOCOL)
    return tuple(removed)


def further_headers(
    credentials: Credentials, route: Route, identity: Identity, *, is_central: bool
) -> tuple[tuple[str, str], ...]:
    """Return headers to set beside the credential: accounts, the actor and subprotocols."""
    headers = route.accounts if is_central else ()
    if route.actor:
        headers = (*headers, (ACTOR_ID, identity.user_id), (ACTOR_NAME, identity.name))
    subprotocols = _subprotocols(credentials, is_central=is_central)
    if subprotocols and SUBPROTOCOL not in credentials.token_headers:
        headers = (*headers, (SUBPROTOCOL, subprotocols))
    return headers


def _subprotocols(credentials: Credentials, *, is_central: bool) -> str | None:
    """Return the subprotocols for the provider; None where the header stays as it came."""
    if is_central and credentials.central_subprotocols is not None:
        return credentials.central_subprotocols
    return credentials.subprotocols
