"""The check of a token against its record, as a pure function, and the SQL of the record."""

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from authz.core.groups import read_groups
from authz.core.identity import Identity, Rejection
from authz.core.rules import read_rules
from authz.core.tokens import CoderToken, proves
from authz.printable import printable

_COLUMNS = """\
SELECT k.id, k.hashed_secret, k.expires_at, k.token_name,
       CAST(u.id AS text), u.username, u.email, CAST(u.status AS text), u.deleted, u.is_system,"""
_OURS = "FROM api_keys k JOIN users u ON u.id = k.user_id\nWHERE k.id = $1"
SELECT_RECORD = f"{_COLUMNS} k.authz_rules, u.authz_groups {_OURS}"
"""Reads the record of a token from authz's tables."""
SELECT_RECORD_BEFORE_GROUPS = f"{_COLUMNS} k.authz_rules, NULL {_OURS}"
"""The same from tables that no writer has brought up to date yet."""
GROUPS_VERSION = 3
"""The first version of the tables with groups."""
# Coder's tables have no authz_rules and authz_groups, and authz's of version 2 no authz_groups. If
# the inner query's table has no such column, the name means the outer query's column, which is
# NULL. So one statement reads all kinds of tables.
SELECT_RECORDS = f"""\
{_COLUMNS} k.authz_rules, u.authz_groups
FROM (SELECT CAST(NULL AS text) AS authz_rules, CAST(NULL AS text) AS authz_groups) absent
CROSS JOIN LATERAL
    (SELECT id, hashed_secret, user_id, expires_at, token_name, authz_rules FROM api_keys) k
CROSS JOIN LATERAL
    (SELECT id, username, email, status, deleted, is_system, authz_groups FROM users
     WHERE id = k.user_id) u
WHERE k.id = ANY($1::text[])"""  # noqa: S608 - constants
"""Reads the records of many tokens in PostgreSQL, from authz's tables or Coder's."""


class TokenRecord(NamedTuple):
    """A row of ``SELECT_RECORD``: the token and its owner.

    Attributes:
        hashed_secret: SHA-256 of the secret, 32 bytes.
        expires_at: timezone-aware.
        status: ``active``, ``dormant`` or ``suspended``.
        rules: the text of ``TokenRules.as_text``; None for a token without rules.
        groups: the groups of the user, for ``read_groups``; None for a user without groups.
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
    groups: str | None = None


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
        memberships=read_groups(record.groups),
    )
