"""Reads what Coder's API says about a token (``coder-contract.md`` 5.1). No input or output."""

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
"""Users of Coder's own, such as the one that owns prebuilt workspaces. The API does not say
``is_system``, but Coder made that user with this id in all deployments, and with an address that
no person has."""
_AWAY = (502, 503, 504)
DEFAULT_RETRY_SECONDS = 60.0
"""What Coder's ``Retry-After`` says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        content_type: the header's value, empty if there is none.
        body: None if it was too long, cut, or compressed against our wish.
        is_coders: whether it says which build of Coder it comes from, as each of Coder's API does.
        retry_after: the header's seconds; None without one.
    """

    status: int
    content_type: str
    body: bytes | None
    is_coders: bool = False
    retry_after: float | None = None


class RateLimited(IdentityUnavailable):
    """Coder has answered 429.

    Attributes:
        retry_after: seconds.
    """

    def __init__(self, text: str, retry_after: float = DEFAULT_RETRY_SECONDS) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def read_user(answer: Answer, token_id: str) -> Identity | Rejection:
    """Return whose token it is, from the answer of ``GET /api/v2/users/me``.

    Any body makes a 401 a rejection: what stands between Coder and us may have replaced the body,
    and a revoked token must never count as one that Coder could not be asked about.

    Args:
        answer: not one that ``is_narrow`` is true for.
        token_id: of the token that was asked about.

    Raises:
        IdentityUnavailable: the answer says nothing about the token. Its text names the cause and
            quotes nothing of the answer.
        RateLimited: it is 429.
        IdentityUnreachable: a proxy in front of Coder says that Coder does not answer.
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
    """Say whether a 401 has Coder's own words for a token that stays bad.

    What a proxy answers instead, a page to sign in for example, says nothing about later.
    """
    reason = _known_reason(_object(answer)) if answer.status == 401 else None
    return reason in FINAL


def is_narrow(answer: Answer) -> bool:
    """Say whether the answer is the one that a valid token gets whose scope lacks the user.

    It allows, and many things that are not Coder answer 404: the shape must be Coder's exactly.
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
    """Say whether this is the answer of a Coder server's ``GET /api/v2/buildinfo``.

    A workspace proxy has that path too, but no users.
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
        raise IdentityUnavailable("Coder's API answered 200 with something that is no JSON object")
    user_id, username, email = body.get("id"), body.get("username"), body.get("email")
    if not _is_uuid(user_id) or not _is_text(username):
        raise IdentityUnavailable("Coder's API answered 200 with something that is no user")
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
        return ": its rate limit is reached, of the token's user or, for a bad token, of authz"
    if 300 <= status < 400:
        return ", a redirect: write the address that it leads to as identity"
    if status in (403, 404):
        return ", and not as Coder does: does identity name a Coder deployment?"
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
    # It goes on into log lines and headers.
    return isinstance(value, str) and 0 < len(value) <= 512 and value.isprintable()


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False
