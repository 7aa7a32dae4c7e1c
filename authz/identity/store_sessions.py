"""The sessions of the store: authentication for the API, sign-in, sign-out, the audit log."""

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
    """A user and the key that authenticated them."""

    user: User
    key: ApiKey


@dataclass(frozen=True, slots=True)
class AuthenticationFailed:
    """The reason why a token was rejected.

    Attributes:
        reason: ``UNKNOWN`` also for a wrong secret, so that guessing ids tells nothing.
        expires_at: the time at which the token ended, if that is the reason.
        status: the status of the user, if that is the reason.
    """

    reason: Rejection
    expires_at: datetime | None = None
    status: str = ""


class SessionStore(StoreBase):
    """The part of the store for authentication, sessions and the audit log."""

    async def authenticate(self, token: CoderToken) -> Authenticated | AuthenticationFailed:
        """Return the user whom a token proves, as Coder's ordinary API does.

        At most once an hour the last use of the key is stored, and a session (but not a token) is
        extended. A dormant user becomes active.
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
        # The role of the database may be allowed to read only.
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
                # Do not extend a session that was ended meanwhile.
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
        """Return the stored hash of a user's password; empty if the user has none.

        It queries the database for an unknown user (None) too, so that the duration of a sign-in
        does not reveal which users exist.
        """
        user_id = user.id if user is not None else str(uuid.UUID(int=0))
        rows = await self._database.fetch(
            "SELECT hashed_password FROM users WHERE id = $1 AND deleted = false", user_id
        )
        return bytes(rows[0]["hashed_password"]) if rows else b""

    async def note_failed_sign_in(self, user: User | None, why: str) -> None:
        """Write a failed sign-in to the audit log.

        Args:
            user: the user whose name or address was given; None if it is unknown. The text is not
                logged, because it may be a password in the wrong field.
            why: the reason in a word or two.
        """
        async with self._database.transaction() as transaction:
            if user is not None:
                await self._note(transaction, Action.LOGIN_FAILED, user, why=why)
            else:
                change = Change(Action.LOGIN_FAILED, Resource.USER, fields={"why": why})
                await audit.record(transaction, self._actor, change)

    async def sign_out(self, key: ApiKey) -> None:
        """Delete a session."""
        async with self._database.transaction() as transaction:
            gone = await transaction.execute("DELETE FROM api_keys WHERE id = $1", key.id)
            if gone:
                change = Change(
                    Action.LOGOUT, Resource.API_KEY, key.id, key.token_name, key.username
                )
                await audit.record(transaction, self._actor, change)

    async def sign_out_everywhere(self, user: User) -> int:
        """Delete all sessions of a user, but no tokens, and return their number."""
        async with self._database.transaction() as transaction:
            gone = await transaction.execute(
                "DELETE FROM api_keys WHERE user_id = $1 AND login_type <> 'token'", user.id
            )
            await self._note(transaction, Action.LOGOUT, user, sessions_ended=gone)
        return gone

    async def audit_entries(
        self, since: datetime, username: str | None = None, limit: int = audit.LIMIT
    ) -> list[Entry]:
        """Return the audit log since a time, oldest first; see ``audit.entries``."""
        return await audit.entries(self._database, since=since, username=username, limit=limit)

    async def audit_entries_after(
        self, time: datetime, entry_id: str, limit: int = audit.LIMIT
    ) -> list[Entry]:
        """Return the audit log after an entry, oldest first; see ``audit.entries_after``."""
        return await audit.entries_after(self._database, time, entry_id, limit)

    async def prune_audit(self, before: datetime) -> int:
        """Delete the audit log before a time, and return the number of entries."""
        return await audit.prune(self._database, before)
