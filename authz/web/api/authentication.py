"""Authenticate API calls: read the token from a request and explain why it is refused."""

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
"""Name of the session's cookie and of a query parameter."""

BAD_TOKEN = "API key is invalid."  # noqa: S105 - a message

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_SAME_SITE = ("same-origin", "none")
_CROSS_SITE = (
    "Something is wrong with your CSRF token. Please refresh the page. If this error persists, "
    "try clearing your cookies."
)


def presented_token(request: Request) -> str:
    """Return the token of a request, or an empty text.

    As in Coder, the first place that has a value wins.
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
    """Return the user and token of a request.

    Raises:
        ApiError: 401 with Coder's texts. Unlike Coder's, they do not tell a caller without the
            secret whether a token's id exists. 404 for a token whose scope is not ``coder:all``:
            every operation here needs it.
        StoreError: the store can't be read.
    """
    text = presented_token(request)
    if not text:
        raise unauthorized(NO_TOKEN)
    token = parse(text)
    if token is None:
        raise unauthorized(_malformed(text))
    result = await store.authenticate(token)
    if isinstance(result, AuthenticationFailed):
        raise _refused(result)
    if is_limited(result.key) and not result.key.rules.as_json():
        raise ApiError(404, NOT_FOUND)
    return result


def check_same_site(request: Request) -> None:
    """Refuse a change that a browser sends for another site's page.

    Browsers name the site of a request in ``Sec-Fetch-Site`` and ``Origin``; other clients send
    neither. The cookie is also ``SameSite=Lax``.

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
    """Return the client's address, for rate limits and the audit log. It decides no access.

    On the listener that only Envoy can connect to, Envoy sends the address in a header. On any
    other listener the header is ignored and the connection's address counts.
    """
    forwarded = request.headers.get(PEER_HEADER, "") if is_from_envoy(request) else ""
    direct = request.client.host if request.client else ""
    return (forwarded or direct)[:64]


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _malformed(text: str) -> str:
    parts = text.split("-")
    if len(parts) != 2:
        problem = f"incorrect amount of API key parts, expected 2 got {len(parts)}"
    elif len(parts[0]) != ID_LENGTH:
        problem = f"invalid API key ID length, expected {ID_LENGTH} got {len(parts[0])}"
    elif len(parts[1]) != SECRET_LENGTH:
        problem = f"invalid API key secret length, expected {SECRET_LENGTH} got {len(parts[1])}"
    else:
        # The lengths are right, but a character is not: no token looks like this.
        return BAD_TOKEN
    return f"Invalid API key format: {problem}"


def _refused(failure: AuthenticationFailed) -> ApiError:
    if failure.reason is Rejection.EXPIRED and failure.expires_at is not None:
        # Coder writes the time in Go's format.
        at = f"{failure.expires_at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
        return unauthorized(f'API key expired at "{at} +0000 UTC".')
    if failure.reason is Rejection.USER_INACTIVE:
        return unauthorized(
            message=f'User is not active (status = "{failure.status}"). '
            "Contact an admin to reactivate your account."
        )
    return unauthorized(BAD_TOKEN)
