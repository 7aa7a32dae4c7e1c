"""The check that Coder's gateway makes on a token's record, as a pure function."""

from datetime import datetime
from typing import NamedTuple

from authz.identity import Identity, Rejection
from authz.tokens import CoderToken, proves

_SELECT = """\
SELECT k.id, k.hashed_secret, k.expires_at, k.token_name,
       CAST(u.id AS text), u.username, u.email, CAST(u.status AS text), u.deleted, u.is_system
FROM api_keys k JOIN users u ON u.id = k.user_id
"""
SELECT_RECORD = _SELECT + "WHERE k.id = $1"
"""Reads what ``check`` needs, from Coder's own tables as from ours (``coder-contract.md`` 5.2)."""
SELECT_RECORDS = _SELECT + "WHERE k.id = ANY($1::text[])"
"""The same for many tokens at once, in PostgreSQL."""


class TokenRecord(NamedTuple):
    """A row of ``SELECT_RECORD``: the token and its owner.

    Attributes:
        hashed_secret: SHA-256 of the secret, 32 bytes.
        expires_at: timezone-aware.
        status: ``active``, ``dormant`` or ``suspended``.
    """

    token_id: str
    hashed_secret: bytes
    expires_at: datetime
    token_name: str
    user_id: str
    username: str
    email: str
    status: str
    deleted: bool
    is_system: bool


def check(record: TokenRecord | None, token: CoderToken, now: datetime) -> Identity | Rejection:
    """Decide whether the token that was presented proves the record's owner.

    The order is Coder's (``coder-contract.md`` 1.8): known, not expired, secret right, user not
    deleted, active, not a system user. A token is valid while ``expires_at >= now``.

    Args:
        record: what the source has under the token's id, or None.
        token: what the request brought.
        now: timezone-aware.

    Returns:
        The owner, or why not.
    """
    if record is None:
        return Rejection.UNKNOWN
    if record.expires_at < now:
        return Rejection.EXPIRED
    if not proves(token, record.hashed_secret):
        return Rejection.WRONG_SECRET
    if record.deleted:
        return Rejection.USER_DELETED
    if record.status != "active":
        return Rejection.USER_INACTIVE
    if record.is_system:
        return Rejection.USER_SYSTEM
    return Identity(
        user_id=record.user_id,
        username=record.username,
        email=record.email,
        token_id=record.token_id,
        token_name=record.token_name,
        expires_at=record.expires_at,
    )
