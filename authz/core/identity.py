"""The types of an identity: the owner of a token, the reasons against one, and a source of both.

A source answers from its own records on every call and caches no positive result, so that a token
stops working with the next request after it, or its user, was deleted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from authz.core.groups import Group
from authz.core.rules import NO_RULES, TokenRules
from authz.core.tokens import CoderToken


class Rejection(StrEnum):
    """A reason to refuse a well-formed token; only logs and metrics have it, never the client."""

    UNKNOWN = "token_unknown"
    EXPIRED = "token_expired"
    WRONG_SECRET = "token_secret_wrong"  # noqa: S105 - a reason, no secret
    USER_DELETED = "user_deleted"
    USER_INACTIVE = "user_inactive"
    USER_SYSTEM = "user_system"
    AUDIENCE = "token_audience"
    LOGIN_EXPIRED = "login_expired"


@dataclass(frozen=True, slots=True)
class Identity:
    """The verified owner of a token.

    Attributes:
        user_id: the user's UUID.
        username: the user's unique name.
        token_id: 10 characters, not secret.
        token_name: the owner's name for the token; empty for sessions.
        expires_at: the end of the token, UTC; None where the source does not tell.
        rules: the limits of the token; Coder's own tokens have no limits.
        stale: whether this is an earlier answer, because the source is unavailable now.
        own_keys: the keys that the user has stored, encrypted, by provider.
        memberships: the groups of the user with their rules; Coder's users have none here.
    """

    user_id: str
    username: str
    email: str
    token_id: str
    token_name: str
    expires_at: datetime | None
    stale: bool = False
    rules: TokenRules = NO_RULES
    memberships: tuple[Group, ...] = ()
    own_keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the user's groups, in the order of the store."""
        return tuple(group.name for group in self.memberships)

    @property
    def name(self) -> str:
        """The name for logs and metrics: the user, or the token where the user is unknown.

        A user's name has no colon, so it can't look like a token's.
        """
        return self.username or f"token:{self.token_id}"

    def own_key(self, provider: str) -> str | None:
        """Return the encrypted key that the user has stored for a provider, or None."""
        for name, envelope in self.own_keys:
            if name == provider:
                return envelope
        return None


VerifyNow = Callable[[CoderToken], Identity | Rejection | None]
"""Looks a token up as ``IdentitySource.verify`` does, or returns None if that has to wait."""


class IdentitySource(Protocol):
    """Looks tokens up.

    A source that can answer by a plain call also has ``verify_now``, a ``VerifyNow``: a check then
    needs no task.
    """

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Look the token up now and return its owner, or the reason to refuse it.

        Raises:
            IdentityUnavailable: the source gave no answer; the request gets 503, never an allow.
        """
        ...

    async def check_ready(self) -> None:
        """Return when the source answers.

        Raises:
            IdentityUnavailable: the source gave no answer.
        """
        ...

    async def close(self) -> None:
        """Close connections and files."""
        ...
