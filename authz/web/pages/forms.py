"""What a form brings, and whether it is one of ours."""

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
_NOT_OURS = "This form has expired or did not come from this page. Go back, reload and try again."

Form = Mapping[str, list[str]]


def csrf_token(secret: str) -> str:
    """Return the token that goes into each form of a session.

    Args:
        secret: the text of the session's cookie, which no script and no other site can read. So
            the token needs no store and no key of its own, and ends with the session (OWASP CSRF
            Prevention Cheat Sheet, "Signed Double-Submit Cookie").
    """
    return hmac.new(secret.encode(), b"authz page: csrf", hashlib.sha256).hexdigest()


def reveal_digest(secret: str) -> bytes:
    """Return what stands for the secret of a new token until the session that made it sees it.

    Args:
        secret: the text of the session's cookie. Only that session can reveal the token, so the
            address of the page that does needs no secret.
    """
    proof = hmac.new(secret.encode(), b"authz page: reveal", hashlib.sha256).digest()
    # Hashed again, so that whoever reads the database can't reveal the token.
    return hashlib.sha256(proof).digest()


def check_origin(request: Request) -> None:
    """Refuse a form that another site's page sent.

    Raises:
        PageError: 403.
    """
    try:
        check_same_site(request)
    except ApiError:
        raise PageError(403, _NOT_OURS) from None


async def read_form(request: Request, secret: str) -> Form:
    """Read a form and check its CSRF token.

    Args:
        request: whose body it is.
        secret: of the session, as for ``csrf_token``; empty where there is none, and then
            no form fits.

    Returns:
        Fields with their values.

    Raises:
        PageError: 415 or 413 when it is no form of ours by its kind or length, 403 without the
            session's token.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise PageError(415, "This is not a form.")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise PageError(413, "This form is too long.")
        fields = parse_qs(bytes(body).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except (ClientDisconnect, ValueError):
        raise PageError(400, "This form can't be read.") from None
    given = one(fields, CSRF_FIELD).encode()
    if not secret or not hmac.compare_digest(given, csrf_token(secret).encode()):
        raise PageError(403, _NOT_OURS)
    return fields


def one(form: Form, field: str) -> str:
    """Return a field's first value, empty without one."""
    return next(iter(form.get(field, ())), "")
