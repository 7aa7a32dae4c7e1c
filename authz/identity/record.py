"""The check that Coder's gateway makes on a token's record, as a pure function."""

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
"""Reads what ``check`` needs, from our own tables."""
# Coder's tables have no authz_rules. A name that the inner query's table lacks means the outer
# query's column of that name, which is NULL: so one statement reads both kinds, and it reads the
# rules from the moment on at which a table gets them.
SELECT_RECORDS = f"""\
{_COLUMNS} k.authz_rules
FROM (SELECT CAST(NULL AS text) AS authz_rules) absent
CROSS JOIN LATERAL
    (SELECT id, hashed_secret, user_id, expires_at, token_name, authz_rules FROM api_keys) k
{_JOINED}WHERE k.id = ANY($1::text[])"""  # noqa: S608 - our own words
"""The same for many tokens at once, in PostgreSQL, from our own tables of any version and from
Coder's (``coder-contract.md`` 5.2)."""


class TokenRecord(NamedTuple):
    """A row of ``SELECT_RECORD``: the token and its owner.

    Attributes:
        hashed_secret: SHA-256 of the secret, 32 bytes.
        expires_at: timezone-aware.
        status: ``active``, ``dormant`` or ``suspended``.
        rules: as ``TokenRules.as_text`` wrote them; None for none.
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
    return _owner(record)


@lru_cache(maxsize=4096)
def _owner(record: TokenRecord) -> Identity:
    # The same object for the same record: who compares identities sees at once that it is.
    return Identity(
        user_id=record.user_id,
        # Of a database that other programs write to, too.
        username=printable(record.username),
        email=printable(record.email),
        token_id=record.token_id,
        token_name=printable(record.token_name),
        expires_at=record.expires_at,
        rules=read_rules(record.rules),
    )
