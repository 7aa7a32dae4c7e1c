"""Whose token is this? One file per source; the URL's scheme picks it (``interface.md`` section 3).

A source answers from its own records on every call and keeps no positive result, so that a deleted
token, or a deleted user's, stops working with the next request.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from authz.core.rules import NO_RULES, TokenRules
from authz.core.tokens import CoderToken


class Rejection(StrEnum):
    """Why a well-formed token is refused. For logs and metrics; never told to the client."""

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
    """The proven owner of a token.

    Attributes:
        user_id: the user's UUID.
        username: unique name of the user.
        token_id: 10 characters, no secret.
        token_name: what the owner called it; empty for sessions.
        expires_at: when the token ends, UTC; None where the source does not say.
        rules: what the token is limited to; Coder's own tokens have none.
        stale: whether this is an earlier answer, given because the source can't be asked now.
    """

    user_id: str
    username: str
    email: str
    token_id: str
    token_name: str
    expires_at: datetime | None
    stale: bool = False
    rules: TokenRules = NO_RULES


class IdentitySource(Protocol):
    """Where tokens are looked up."""

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Look the token up now and say whose it is, or why it is refused.

        Raises:
            IdentityUnavailable: the source can't be asked; the request gets 503, never an allow.
        """
        ...

    async def check_ready(self) -> None:
        """Return when the source answers.

        Raises:
            IdentityUnavailable: it does not.
        """
        ...

    async def close(self) -> None:
        """Give back connections and files."""
        ...
