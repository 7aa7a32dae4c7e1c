"""Read forms, and check that they come from a page of this gateway."""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request

from authz.web.api.authentication import check_same_site
from authz.web.api.errors import ApiError
from authz.web.pages.responses import PageError

CSRF_FIELD = "csrf"
MAX_BODY_BYTES = 65_536
_MAX_FIELDS = 200
_FORM = "application/x-www-form-urlencoded"
_FOREIGN_FORM = (
    "This form has expired or did not come from this page. Go back, reload and try again."
)

Form = Mapping[str, list[str]]


def csrf_token(secret: str) -> str:
    """Return the token that goes into each form of a session.

    Args:
        secret: the value of the session's cookie, which scripts and other sites can't read. The
            token is derived from it, so it needs no storage and ends with the session (OWASP CSRF
            Prevention Cheat Sheet, "Signed Double-Submit Cookie").
    """
    return hmac.new(secret.encode(), b"authz page: csrf", hashlib.sha256).hexdigest()


def reveal_digest(secret: str) -> bytes:
    """Return the digest that a new token is stored with until its session reveals the token.

    Args:
        secret: the value of the session's cookie. Only that session can reveal the token, so the
            URL of the page that shows it contains no secret.
    """
    proof = hmac.new(secret.encode(), b"authz page: reveal", hashlib.sha256).digest()
    # Hashed again, so that read access to the database is not enough to reveal the token.
    return hashlib.sha256(proof).digest()


def check_origin(request: Request) -> None:
    """Refuse a form that comes from another site's page.

    Raises:
        PageError: 403.
    """
    try:
        check_same_site(request)
    except ApiError:
        raise PageError(403, _FOREIGN_FORM) from None


async def read_form(request: Request, secret: str) -> Form:
    """Read a form and check its CSRF token.

    Args:
        request: the request with the form.
        secret: the session's secret, as for ``csrf_token``. No form is valid with an empty one.

    Returns:
        Fields with their values.

    Raises:
        PageError: 415 for another content type, 413 for a body that is too long, 400 for one that
            can't be parsed, 403 without the session's CSRF token.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise PageError(415, "The request is not a form. Go back, reload and try again.")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise PageError(413, "The form is too long. Shorten the text and try again.")
        fields = parse_qs(bytes(body).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except (ClientDisconnect, ValueError):
        raise PageError(400, "The form can't be read. Go back, reload and try again.") from None
    given = one(fields, CSRF_FIELD).encode()
    if not secret or not hmac.compare_digest(given, csrf_token(secret).encode()):
        raise PageError(403, _FOREIGN_FORM)
    return fields


def one(form: Form, field: str) -> str:
    """Return a field's first value, or an empty text."""
    return next(iter(form.get(field, ())), "")
