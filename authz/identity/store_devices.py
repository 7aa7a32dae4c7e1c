"""The device flow in the store: codes that wait for a person, and refresh tokens that rotate.

All of it is in the database, so that any replica answers, and each step is one statement that
changes a row in one state, so that of two requests at once only one takes it.
"""

import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from authz.core.device import (
    device_digest,
    new_device_code,
    new_refresh_token,
    new_user_code,
)
from authz.core.rules import TokenRules
from authz.database.interface import Conflict, Queries, Row
from authz.identity.accounts import User
from authz.identity.roles import longest_lifetime
from authz.identity.store_keys import OwnerChanged
from authz.identity.store_refresh import Issued, RefreshStore

EXPIRES_SECONDS = 600
INTERVAL_SECONDS = 5
SLOWER_SECONDS = 5
"""Added to the interval for each poll that comes too soon (RFC 8628 section 3.5)."""
PER_ADDRESS = 30
"""Codes that one address may ask for in ten minutes."""
WAITING_MAX = 10_000
"""Codes that may wait at a time."""
ATTEMPTS = 10
"""Wrong codes that one address may enter in ten minutes (RFC 8628 section 5.1)."""
_WINDOW = timedelta(minutes=10)
_KEEP = timedelta(hours=1)
"""The time for which an ended code is known, so that its client hears why."""
_JITTER = timedelta(seconds=1)
_INVENTIONS = 5


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A sign-in that waits for a person.

    Attributes:
        kind: what the client gets in the end.
        client: name of the client, for people.
        provider: the only provider of the token; empty for all.
        ip: address of the client.
        status: ``pending``, ``approved`` or ``denied``.
        user_id: the user who approved.
    """

    kind: str
    client: str
    provider: str
    ip: str
    status: str
    user_id: str | None
    expires_at: datetime

    @classmethod
    def of(cls, row: Row) -> "DeviceRequest":
        """Return the request of a row."""
        names = ("kind", "client", "provider", "ip", "status", "user_id", "expires_at")
        return cls(*(row[name] for name in names))


class TooManyCodes(Exception):  # noqa: N818 - the name is the reason
    """An address asked for, or guessed, too many codes."""


class PollRefused(Exception):  # noqa: N818
    """A poll gets no token; the text is the error code of RFC 8628 section 3.5."""


class DeviceStore(RefreshStore):
    """The part of the store for the device flow."""

    async def create_device_code(
        self, kind: str, client: str, provider: str, ip: str
    ) -> tuple[str, str]:
        """Return a new device code and its user code.

        Raises:
            TooManyCodes: the address has asked too often, or too many codes wait.
        """
        now = datetime.now(UTC)
        await self._database.execute("DELETE FROM device_codes WHERE expires_at < $1", now - _KEEP)
        counts = await self._database.fetch(
            "SELECT count(*) AS waiting,"
            " coalesce(sum(CASE WHEN ip = $1 AND created_at > $2 THEN 1 ELSE 0 END), 0) AS own"
            " FROM device_codes WHERE expires_at > $2",
            ip,
            now - _WINDOW,
        )
        if counts[0]["waiting"] >= WAITING_MAX or counts[0]["own"] >= PER_ADDRESS:
            raise TooManyCodes
        for _ in range(_INVENTIONS):
            device_code, user_code = new_device_code(), new_user_code()
            try:
                await self._database.execute(
                    "INSERT INTO device_codes (device_digest, user_code, kind, client, provider,"
                    " ip, interval_seconds, created_at, expires_at)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                    device_digest(device_code),
                    user_code,
                    kind,
                    client,
                    provider,
                    ip,
                    INTERVAL_SECONDS,
                    now,
                    now + timedelta(seconds=EXPIRES_SECONDS),
                )
            except Conflict:
                continue
            return device_code, user_code
        raise TooManyCodes

    async def find_device_request(self, user_code: str, ip: str) -> DeviceRequest | None:
        """Return the sign-in that waits with a user code; None counts as a wrong guess.

        Args:
            user_code: as ``read_user_code`` returned it.
            ip: the address of the person's browser.

        Raises:
            TooManyCodes: the address has guessed too often.
        """
        now, attempt = datetime.now(UTC), str(uuid.uuid4())
        await self._database.execute("DELETE FROM device_attempts WHERE time < $1", now - _WINDOW)
        # Written before it is counted, in a statement of its own: each of many guesses at once
        # counts those before it.
        await self._database.execute(
            "INSERT INTO device_attempts (id, ip, time) VALUES ($1, $2, $3)", attempt, ip, now
        )
        counts = await self._database.fetch(
            "SELECT count(*) AS guesses FROM device_attempts WHERE ip = $1 AND time > $2",
            ip,
            now - _WINDOW,
        )
        is_allowed = counts[0]["guesses"] <= ATTEMPTS
        rows = await self._database.fetch(
            "SELECT * FROM device_codes WHERE user_code = $1 AND status = 'pending'"
            " AND expires_at > $2",
            user_code,
            now,
        )
        if rows or not is_allowed:
            # A right code is no wrong guess, and waiting must not last longer for a person who
            # tries while they wait.
            await self._database.execute("DELETE FROM device_attempts WHERE id = $1", attempt)
        if not is_allowed:
            raise TooManyCodes
        return DeviceRequest.of(rows[0]) if rows else None

    async def decide_device_request(self, user_code: str, user: User, *, approve: bool) -> bool:
        """Approve or deny a sign-in that waits, once; return whether it still waited."""
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction, user)
            changed = await transaction.execute(
                "UPDATE device_codes SET status = $1, user_id = $2"
                " WHERE user_code = $3 AND status = 'pending' AND expires_at > $4",
                "approved" if approve else "denied",
                user.id,
                user_code,
                datetime.now(UTC),
            )
        return bool(changed)

    async def poll(self, device_code: str) -> DeviceRequest:
        """Return an approved sign-in.

        Raises:
            PollRefused: it is not approved, or there is none.
        """
        digest, now = device_digest(device_code), datetime.now(UTC)
        rows = await self._database.fetch(
            "SELECT * FROM device_codes WHERE device_digest = $1", digest
        )
        if not rows:
            raise PollRefused("invalid_grant")
        row = rows[0]
        if row["expires_at"] <= now:
            raise PollRefused("expired_token")
        due = row["polled_at"] and (
            row["polled_at"] + timedelta(seconds=row["interval_seconds"]) - _JITTER
        )
        too_soon = due is not None and now < due
        await self._database.execute(
            "UPDATE device_codes SET polled_at = $1, interval_seconds = interval_seconds + $2"
            " WHERE device_digest = $3",
            now,
            SLOWER_SECONDS if too_soon else 0,
            digest,
        )
        if too_soon:
            raise PollRefused("slow_down")
        if row["status"] == "denied":
            raise PollRefused("access_denied")
        if row["status"] != "approved":
            raise PollRefused("authorization_pending")
        return DeviceRequest.of(row)

    async def exchange_device_code(
        self, device_code: str, user: User, name: str, lifetime: timedelta, rules: TokenRules
    ) -> Issued:
        """Exchange an approved code for a token and a refresh token, once.

        Raises:
            PollRefused: the code was used, or the user may not sign in now.
        """
        async with self._database.transaction() as transaction:
            await self._take(transaction, device_code)
            lifetime = min(lifetime, longest_lifetime(user))
            try:
                text, key = await self._write_key(transaction, user, name, lifetime, "token", rules)
            except OwnerChanged:
                raise PollRefused("access_denied") from None
            refresh = new_refresh_token(key.id)
            now = datetime.now(UTC)
            await transaction.execute(
                "INSERT INTO refresh_tokens (api_key_id, family_digest, digest, seed,"
                " access_expires_at, rotated_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $6)",
                key.id,
                refresh.family_digest,
                refresh.digest,
                secrets.token_bytes(32),
                key.expires_at,
                now,
            )
        return Issued(text, refresh.text, int(lifetime.total_seconds()), user)

    async def exchange_for_session(
        self, device_code: str, user: User, lifetime: timedelta
    ) -> Issued:
        """Exchange an approved code for a session, once; errors as ``exchange_device_code``."""
        async with self._database.transaction() as transaction:
            await self._take(transaction, device_code)
            try:
                kind = await self._session_kind(transaction, user)
                text, _ = await self._write_key(transaction, user, "", lifetime, kind, TokenRules())
            except OwnerChanged:
                raise PollRefused("access_denied") from None
        return Issued(text, "", int(lifetime.total_seconds()), user)

    async def _session_kind(self, transaction: Queries, user: User) -> str:
        """Return ``oidc`` for a user of an identity provider: the session ends when unlinked."""
        linked = await transaction.fetch(
            "SELECT 1 FROM user_links WHERE user_id = $1 LIMIT 1", user.id
        )
        return "oidc" if linked else "password"

    async def _take(self, transaction: Queries, device_code: str) -> None:
        taken = await transaction.execute(
            "DELETE FROM device_codes WHERE device_digest = $1 AND status = 'approved'",
            device_digest(device_code),
        )
        if not taken:
            raise PollRefused("invalid_grant")
