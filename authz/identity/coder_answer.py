"""Parsing of the answers of Coder's API about a token, without I/O."""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from authz.core.identity import Identity, Rejection
from authz.errors import IdentityUnavailable, IdentityUnreachable
from authz.identity.bad_tokens import FINAL

_NARROW = "Resource not found or you do not have access to this resource"
_AUDIENCE = "Token audience validation failed"
_REASONS = (
    (re.compile(r"API key is invalid"), Rejection.UNKNOWN),
    (re.compile(r"API key expired at "), Rejection.EXPIRED),
    (re.compile(r"API key secret is invalid"), Rejection.WRONG_SECRET),
    (re.compile(r"User is not active "), Rejection.USER_INACTIVE),
    (
        re.compile(
            r"You must re-authenticate with the login provider|\S+ session expired at "
            r"|Could not refresh expired "
        ),
        Rejection.LOGIN_EXPIRED,
    ),
)
_SYSTEM_USERS = frozenset({"c42fdf75-3097-471c-8c33-fb52454d81c0"})
_SYSTEM_EMAIL = "@system"
"""The marks of Coder's internal users, such as the owner of prebuilt workspaces.

The API does not return ``is_system``, but this user has this id in all deployments, and an e-mail
address that no person can have."""
_AWAY = (502, 503, 504)
DEFAULT_RETRY_SECONDS = 60.0
"""The value of Coder's ``Retry-After``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        content_type: the value of the header; empty if it is missing.
        body: None if it was too long, cut, or compressed although that was not accepted.
        is_coders: whether it has the header with Coder's version, which all of Coder's API have.
        retry_after: the seconds in the header; None if it is missing.
    """

    status: int
    content_type: str
    body: bytes | None
    is_coders: bool = False
    retry_after: float | None = None


class RateLimited(IdentityUnavailable):
    """Coder answered 429.

    Attributes:
        retry_after: the seconds to wait.
    """

    def __init__(self, text: str, retry_after: float = DEFAULT_RETRY_SECONDS) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def read_user(answer: Answer, token_id: str) -> Identity | Rejection:
    """Return the owner of a token, from the answer to ``GET /api/v2/users/me``.

    A 401 is a rejection whatever its body: a proxy may have replaced the body, and a revoked token
    must never count as one that could not be looked up.

    Args:
        answer: an answer for which ``is_narrow`` is false.
        token_id: the id of the token.

    Raises:
        IdentityUnavailable: the answer says nothing about the token. The error names the cause and
            quotes nothing of the answer.
        RateLimited: the status is 429.
        IdentityUnreachable: a proxy in front of Coder can't reach Coder.
    """
    if answer.status == 200:
        return _identity(_object(answer), token_id)
    if answer.status == 401:
        return _reason(_object(answer))
    if answer.status == 403 and _message(_object(answer)) == _AUDIENCE:
        return Rejection.AUDIENCE
    text = f"Coder's API answered {answer.status}{_hint(answer.status)}"
    if answer.status == 429:
        seconds = answer.retry_after
        raise RateLimited(text, DEFAULT_RETRY_SECONDS if seconds is None else seconds)
    if answer.status in _AWAY and not answer.is_coders:
        raise IdentityUnreachable(text)
    raise IdentityUnavailable(text)


def is_final(answer: Answer) -> bool:
    """Return whether a 401 has Coder's own message for a token that stays invalid.

    A proxy may answer 401 too, for example with a sign-in page, and later let the token pass.
    """
    reason = _known_reason(_object(answer)) if answer.status == 401 else None
    return reason in FINAL


def is_narrow(answer: Answer) -> bool:
    """Return whether the answer is that to a valid token whose scope does not include its user.

    Such a token is accepted, and many servers answer 404, so the format must be exactly Coder's.
    """
    body = _object(answer)
    return (
        answer.status == 404
        and answer.content_type.partition(";")[0].strip().lower() == "application/json"
        and _message(body) == _NARROW
        and body is not None
        and body.keys() <= {"message", "detail", "validations"}
        and isinstance(body.get("detail", ""), str)
        and isinstance(body.get("validations") or [], list)
    )


def is_build_info(answer: Answer) -> bool:
    """Return whether this is a Coder server's answer to ``GET /api/v2/buildinfo``.

    A workspace proxy has this path too, but no users.
    """
    body = _object(answer)
    return (
        answer.status == 200
        and body is not None
        and all(_is_text(body.get(key)) for key in ("version", "external_url"))
        and body.get("workspace_proxy") is not True
    )


def _identity(body: dict[str, Any] | None, token_id: str) -> Identity | Rejection:
    if body is None:
        raise IdentityUnavailable(
            "Coder's API answered 200 with something that is not a JSON object"
        )
    user_id, username, email = body.get("id"), body.get("username"), body.get("email")
    if not _is_uuid(user_id) or not _is_text(username):
        raise IdentityUnavailable("Coder's API answered 200 with something that is not a user")
    if body.get("status") == "suspended":
        return Rejection.USER_INACTIVE
    if str(user_id).lower() in _SYSTEM_USERS or str(email).endswith(_SYSTEM_EMAIL):
        return Rejection.USER_SYSTEM
    return Identity(
        user_id=str(user_id),
        username=str(username),
        email=str(email) if _is_text(email) else "",
        token_id=token_id,
        token_name="",
        expires_at=None,
    )


def _reason(body: dict[str, Any] | None) -> Rejection:
    return _known_reason(body) or Rejection.UNKNOWN


def _known_reason(body: dict[str, Any] | None) -> Rejection | None:
    for key in ("detail", "message"):
        text = (body or {}).get(key)
        if isinstance(text, str):
            for pattern, rejection in _REASONS:
                if pattern.match(text):
                    return rejection
    return None


def _hint(status: int) -> str:
    if status == 429:
        return ": its rate limit is reached, of the token's user or, for an invalid token, of authz"
    if 300 <= status < 400:
        return ", a redirect: set identity to the address that it leads to"
    if status in (403, 404):
        return ", and not as Coder does: check that identity is the URL of a Coder deployment"
    return ""


def _object(answer: Answer) -> dict[str, Any] | None:
    if answer.body is None:
        return None
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _message(body: dict[str, Any] | None) -> str | None:
    message = (body or {}).get("message")
    return message.removesuffix(".") if isinstance(message, str) else None


def _is_text(value: object) -> bool:
    # The value is used in log lines and headers.
    return isinstance(value, str) and 0 < len(value) <= 512 and value.isprintable()


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False
