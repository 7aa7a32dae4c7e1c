"""Whose request is it? Where a token may stand, and what is said of a bad one."""

import re
from urllib.parse import urlsplit

from starlette.requests import Request

from authz.core.header_names import PEER_HEADER
from authz.core.identity import Rejection
from authz.core.tokens import ID_LENGTH, SECRET_LENGTH, parse
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated, AuthenticationFailed
from authz.web.api.errors import NO_TOKEN, NOT_FOUND, ApiError, unauthorized
from authz.web.server import is_from_envoy
from authz.web.sign_in import is_limited

COOKIE = "coder_session_token"
"""The name of the session's cookie, and of a query parameter."""

BAD_TOKEN = "API key is invalid."  # noqa: S105 - a text, no secret

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_SAME_SITE = ("same-origin", "none")
_CROSS_SITE = (
    "Something is wrong with your CSRF token. Please refresh the page. If this error persists, "
    "try clearing your cookies."
)


def presented_token(request: Request) -> str:
    """Return the token of a request, empty without one.

    The order is Coder's, the first that is not empty wins (``coder-contract.md`` 1.9).
    """
    bearer = _BEARER.fullmatch(request.headers.get("authorization", ""))
    places = (
        request.cookies.get(COOKIE),
        request.query_params.get(COOKIE),
        request.headers.get("coder-session-token"),
        bearer[1] if bearer else None,
        request.query_params.get("access_token"),
    )
    return next((place for place in places if place), "")


async def authenticate(request: Request, store: Store) -> Authenticated:
    """Return whose request it is.

    Raises:
        ApiError: 401 with Coder's texts (``coder-contract.md`` 5.1), save that nobody who can't
            prove a token is told whether its id exists (``interface.md`` section 5); 404 where the
            token's scope is narrower than everything, since no route here needs less.
        StoreError: the store can't be asked.
    """
    text = presented_token(request)
    if not text:
        raise unauthorized(NO_TOKEN)
    token = parse(text)
    if token is None:
        raise unauthorized(_malformed(text))
    proven = await store.authenticate(token)
    if isinstance(proven, AuthenticationFailed):
        raise _refused(proven)
    if is_limited(proven.key) and not proven.key.rules.as_json():
        raise ApiError(404, NOT_FOUND)
    return proven


def check_same_site(request: Request) -> None:
    """Refuse a change that another site's page makes a browser ask for.

    Browsers say where a request comes from (``Sec-Fetch-Site``, ``Origin``), other clients do not.
    The cookie is ``SameSite=Lax`` besides.

    Raises:
        ApiError: 400, with Coder's text.
    """
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in _SAME_SITE:
        raise ApiError(400, _CROSS_SITE)
    if origin is not None and _authority(origin) != request.headers.get("host", "").lower():
        raise ApiError(400, _CROSS_SITE)


def peer(request: Request) -> str:
    """Return where a request comes from, for limits and the audit log; no decision depends on it.

    Envoy says it, on the listener that only Envoy can connect to. Of any other request it is the
    connection's own, whatever its headers say.
    """
    said = request.headers.get(PEER_HEADER, "") if is_from_envoy(request) else ""
    direct = request.client.host if request.client else ""
    return (said or direct)[:64]


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _malformed(text: str) -> str:
    parts = text.split("-")
    if len(parts) != 2:
        what = f"incorrect amount of API key parts, expected 2 got {len(parts)}"
    elif len(parts[0]) != ID_LENGTH:
        what = f"invalid API key ID length, expected {ID_LENGTH} got {len(parts[0])}"
    elif len(parts[1]) != SECRET_LENGTH:
        what = f"invalid API key secret length, expected {SECRET_LENGTH} got {len(parts[1])}"
    else:
        # Of the right lengths, but of characters that no token has: nobody's.
        return BAD_TOKEN
    return f"Invalid API key format: {what}"


def _refused(refused: AuthenticationFailed) -> ApiError:
    if refused.reason is Rejection.EXPIRED and refused.expires_at is not None:
        # As Go writes a time.
        at = f"{refused.expires_at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
        return unauthorized(f'API key expired at "{at} +0000 UTC".')
    if refused.reason is Rejection.USER_INACTIVE:
        return unauthorized(
            message=f'User is not active (status = "{refused.status}"). '
            "Contact an admin to reactivate your account."
        )
    return unauthorized(BAD_TOKEN)
