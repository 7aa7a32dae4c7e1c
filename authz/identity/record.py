"""The check of a token against its record, as a pure function, and the SQL of the record."""

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from authz.core.identity import Identity, Rejection
from authz.core.rules import read_rules
from authz.core.tokens import CoderToken, proves
from authz.printable import printable

_COLUMNS = """\
SELECT k.id, k.hashed_secret, k.expires_at, k.token_name,
       CAST(u.id AS text), u.username, u.email, CAST(u.status AS text), u.deleted, u.is_system,"""
_JOINED = "JOIN users u ON u.id = k.user_id\n"
_OURS = f"FROM api_keys k {_JOINED}WHERE k.id = $1"
SELECT_RECORD = f"{_COLUMNS} k.authz_rules {_OURS}"
"""Reads the record of a token from authz's tables."""
# Coder's tables have no authz_rules. If the inner query's table has no such column, the name means
# the outer query's column, which is NULL. So one statement reads both kinds of tables.
SELECT_RECORDS = f"""\
{_COLUMNS} k.authz_rules
FROM (SELECT CAST(NULL AS text) AS authz_rules) absent
CROSS JOIN LATERAL
    (SELECT id, hashed_secret, user_id, expires_at, token_name, authz_rules FROM api_keys) k
{_JOINED}WHERE k.id = ANY($1::text[])"""  # noqa: S608 - constants
"""Reads the records of many tokens in PostgreSQL, from authz's tables or Coder's."""


class TokenRecord(NamedTuple):
    """A row of ``SELECT_RECORD``: the token and its owner.

    Attributes:
        hashed_secret: SHA-256 of the secret, 32 bytes.
        expires_at: timezone-aware.
        status: ``active``, ``dormant`` or ``suspended``.
        rules: the text of ``TokenRules.as_text``; None for a token without rules.
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
    rules: str | None = None


def check(record: TokenRecord | None, token: CoderToken, now: datetime) -> Identity | Rejection:
    """Return whether a token proves the owner of its record.

    The order is that of Coder's gateway: known, not expired, secret right, user not deleted,
    active, not a system user. A token is valid while ``expires_at >= now``.

    Args:
        record: the record with the token's id, or None.
        token: the token of the request.
        now: a timezone-aware time.

    Returns:
        The owner, or the reason for the rejection.
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
    return _owner(record)


@lru_cache(maxsize=4096)
def _owner(record: TokenRecord) -> Identity:
    # The same object for the same record, so that comparing identities is cheap.
    return Identity(
        user_id=record.user_id,
        # Other programs may write to the database too.
        username=printable(record.username),
        email=printable(record.email),
        token_id=record.token_id,
        token_name=printable(record.token_name),
        expires_at=record.expires_at,
        rules=read_rules(record.rules),
    )
