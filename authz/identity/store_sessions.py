"""The store's sessions: who a token proves to the API, and what a sign-in and sign-out change."""

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from authz.core.identity import Rejection
from authz.core.tokens import CoderToken, proves
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import KEY_COLUMNS, USER_COLUMNS, ApiKey, User
from authz.identity.audit import Action, Change, Entry, Resource
from authz.identity.record import TokenRecord, check
from authz.identity.store_base import StoreBase

_SESSION_TYPES = ("password", "github", "oidc")
_HOUR = timedelta(hours=1)
_SELECT = (
    f"SELECT {KEY_COLUMNS}, {USER_COLUMNS}, k.hashed_secret, u.deleted, u.is_system"  # noqa: S608
    " FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.id = $1"
)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A user and the key that proved them."""

    user: User
    key: ApiKey


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """Why a token proves nobody.

    Attributes:
        reason: of a token whose secret is wrong, that it is unknown: whoever guesses ids learns
            nothing.
        expires_at: when the token ended, if that is the reason.
        status: of the user, if that is the reason.
    """

    reason: Rejection
    expires_at: datetime | None = None
    status: str = ""


class SessionStore(StoreBase):
    """Proves users to the API, and keeps the audit log."""

    async def authenticate(self, token: CoderToken) -> Authenticated | AuthenticationFailed:
        """Say whom a token proves, as Coder's ordinary API does (``coder-contract.md`` 1.4, 1.7).

        At most once an hour the key's last use is noted, and then the expiry of a session moves on,
        while that of a token stays. A dormant user becomes active.
        """
        rows = await self._database.fetch(_SELECT, token.id)
        if not rows or not proves(token, rows[0]["hashed_secret"]):
            return AuthenticationFailed(Rejection.UNKNOWN)
        row, now = rows[0], datetime.now(UTC)
        user, key = User.of(row), ApiKey.of(row)
        status = "active" if user.status == "dormant" else user.status
        record = TokenRecord(
            token_id=key.id,
            hashed_secret=row["hashed_secret"],
            expires_at=key.expires_at,
            token_name=key.token_name,
            user_id=user.id,
            username=user.username,
            email=user.email,
            status=status,
            deleted=row["deleted"],
            is_system=row["is_system"],
        )
        verification = check(record, token, now)
        if isinstance(verification, Rejection):
            return AuthenticationFailed(verification, key.expires_at, user.status)
        # Whoever may read the tables need not be allowed to write them.
        with suppress(StoreError):
            await self._touch(user, key, now)
        return Authenticated(user, key)

    async def _touch(self, user: User, key: ApiKey, now: datetime) -> None:
        lifetime = timedelta(seconds=key.lifetime_seconds)
        slides = key.login_type in _SESSION_TYPES and key.expires_at - now <= lifetime - _HOUR
        used = key.last_used is None or now - key.last_used > _HOUR
        if slides or used:
            await self._database.execute(
                "UPDATE api_keys SET last_used = $1, expires_at = $2, updated_at = $1"
                # One that was ended meanwhile stays ended.
                " WHERE id = $3 AND expires_at = $4",
                now,
                now + lifetime if slides else key.expires_at,
                key.id,
                key.expires_at,
            )
        if used or user.status == "dormant":
            await self._database.execute(
                "UPDATE users SET last_seen_at = $1,"
                " status = CASE status WHEN 'dormant' THEN 'active' ELSE status END WHERE id = $2",
                now,
                user.id,
            )

    async def password_hash(self, user: User | None) -> bytes:
        """Return the stored hash of a user's password; empty for one without.

        Without a user it asks all the same: how long a sign-in takes must not tell who is here.
        """
        user_id = user.id if user is not None else str(uuid.UUID(int=0))
        rows = await self._database.fetch(
            "SELECT hashed_password FROM users WHERE id = $1 AND deleted = false", user_id
        )
        return bytes(rows[0]["hashed_password"]) if rows else b""

    async def note_failed_sign_in(self, user: User | None, why: str) -> None:
        """Write a failed sign-in into the audit log.

        Args:
            user: whose name or address was given. What else was given is not kept: it may be a
                password in the wrong field.
            why: in a word or two.
        """
        async with self._database.transaction() as transaction:
            if user is not None:
                await self._note(transaction, Action.LOGIN_FAILED, user, why=why)
            else:
                change = Change(Action.LOGIN_FAILED, Resource.USER, fields={"why": why})
                await audit.record(transaction, self._actor, change)

    async def sign_out(self, key: ApiKey) -> None:
        """Remove a session."""
        async with self._database.transaction() as transaction:
            gone = await transaction.execute("DELETE FROM api_keys WHERE id = $1", key.id)
            if gone:
                change = Change(
                    Action.LOGOUT, Resource.API_KEY, key.id, key.token_name, key.username
                )
                await audit.record(transaction, self._actor, change)

    async def sign_out_everywhere(self, user: User) -> int:
        """Remove all sessions of a user, but no tokens; return how many."""
        async with self._database.transaction() as transaction:
            gone = await transaction.execute(
                "DELETE FROM api_keys WHERE user_id = $1 AND login_type <> 'token'", user.id
            )
            await self._note(transaction, Action.LOGOUT, user, sessions_ended=gone)
        return gone

    async def audit_entries(
        self, since: datetime, username: str | None = None, limit: int = audit.LIMIT
    ) -> list[Entry]:
        """Return the audit log from a time on, oldest first; see ``audit.entries``."""
        return await audit.entries(self._database, since=since, username=username, limit=limit)

    async def prune_audit(self, before: datetime) -> int:
        """Remove the audit log of before a time; return how many entries went."""
        return await audit.prune(self._database, before)
