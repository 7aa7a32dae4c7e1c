"""The device flow in the store: codes that wait for a person, and refresh tokens that rotate.

All of it is in the database, so that any replica answers, and each step is one statement that
changes a row in one state, so that of two requests at once only one takes it.
"""

import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from authz.core import tokens
from authz.core.device import (
    RefreshToken,
    device_digest,
    new_device_code,
    new_refresh_token,
    new_user_code,
    read_refresh_token,
)
from authz.core.rules import TokenRules
from authz.core.tokens import hash_secret
from authz.database.interface import Conflict, Queries, Row
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Action
from authz.identity.roles import longest_lifetime
from authz.identity.store import OwnerChanged, Store
from authz.identity.store_base import SELECT_KEY, SELECT_USER

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


class RefreshRefused(Exception):  # noqa: N818
    """A refresh token is not valid; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The tokens of one answer.

    Attributes:
        access: text of the access token.
        refresh: text of the refresh token; empty for a session, which use extends.
        expires_in: seconds until the access token ends.
    """

    access: str
    refresh: str
    expires_in: int
    user: User


class DeviceStore(Store):
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
        now = datetime.now(UTC)
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(
                "SELECT count(*) AS wrong FROM device_attempts WHERE ip = $1 AND time > $2",
                ip,
                now - _WINDOW,
            )
            if rows[0]["wrong"] >= ATTEMPTS:
                raise TooManyCodes
            rows = await transaction.fetch(
                "SELECT * FROM device_codes WHERE user_code = $1 AND status = 'pending'"
                " AND expires_at > $2",
                user_code,
                now,
            )
            if not rows:
                await transaction.execute(
                    "DELETE FROM device_attempts WHERE time < $1", now - _WINDOW
                )
                await transaction.execute(
                    "INSERT INTO device_attempts (id, ip, time) VALUES ($1, $2, $3)",
                    str(uuid.uuid4()),
                    ip,
                    now,
                )
                return None
        return DeviceRequest.of(rows[0])

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
                text, _ = await self._write_key(
                    transaction, user, "", lifetime, "password", TokenRules()
                )
            except OwnerChanged:
                raise PollRefused("access_denied") from None
        return Issued(text, "", int(lifetime.total_seconds()), user)

    async def _take(self, transaction: Queries, device_code: str) -> None:
        taken = await transaction.execute(
            "DELETE FROM device_codes WHERE device_digest = $1 AND status = 'approved'",
            device_digest(device_code),
        )
        if not taken:
            raise PollRefused("invalid_grant")

    async def refresh(
        self, given: RefreshToken, lifetime: timedelta, grace: timedelta, longest: timedelta
    ) -> Issued:
        """Replace a refresh token and its access token.

        The token before the current one gets the current answer again for a while, since a client
        may lose an answer, and several processes of one client share a token. Every other earlier
        token was copied: the sign-in ends, with its access token.

        Args:
            given: the token that the client sent.
            lifetime: of the new access token.
            grace: the time for which the token before the current one is answered.
            longest: the time from the sign-in after which a person has to sign in again.

        Raises:
            RefreshRefused: the token is not valid.
        """
        refused = ""
        async with self._database.transaction() as transaction:
            now = datetime.now(UTC)
            # The first statement takes the row's lock, so that of two requests one waits.
            await transaction.execute(
                "UPDATE refresh_tokens SET api_key_id = api_key_id WHERE api_key_id = $1", given.id
            )
            rows = await transaction.fetch(
                "SELECT * FROM refresh_tokens WHERE api_key_id = $1", given.id
            )
            if not rows or not hmac.compare_digest(
                bytes(rows[0]["family_digest"]), given.family_digest
            ):
                raise RefreshRefused("unknown")
            row = rows[0]
            key = ApiKey.of((await transaction.fetch(f"{SELECT_KEY} WHERE k.id = $1", given.id))[0])
            users = await transaction.fetch(f"{SELECT_USER} AND u.id = $1", key.user_id)
            user = User.of(users[0]) if users else None
            is_current = hmac.compare_digest(bytes(row["digest"]), given.digest)
            is_previous = row["previous_digest"] is not None and hmac.compare_digest(
                bytes(row["previous_digest"]), given.digest
            )
            if user is None or user.status != "active":
                refused = "the user is deleted or suspended"
            elif key.expires_at != row["access_expires_at"]:
                refused = "the access token was ended"
            elif row["created_at"] + longest <= now:
                refused = "the sign-in is too old"
            elif is_previous and now < row["rotated_at"] + grace:
                following, access = given.next(bytes(row["seed"]))
                left = int((key.expires_at - now).total_seconds())
                return Issued(f"{key.id}-{access}", following.text, max(left, 0), user)
            elif not is_current:
                refused = "a refresh token was used again"
            else:
                return await self._rotate(transaction, given, key, user, lifetime)
            await transaction.execute("DELETE FROM api_keys WHERE id = $1", key.id)
            await self._note_key(transaction, Action.DELETE, key, why=refused)
        raise RefreshRefused(refused)

    async def _rotate(
        self,
        transaction: Queries,
        given: RefreshToken,
        key: ApiKey,
        user: User,
        lifetime: timedelta,
    ) -> Issued:
        now, seed = datetime.now(UTC), secrets.token_bytes(32)
        following, access = given.next(seed)
        expires_at = now + min(lifetime, longest_lifetime(user))
        await transaction.execute(
            "UPDATE refresh_tokens SET digest = $1, previous_digest = $2, seed = $3,"
            " access_expires_at = $4, rotated_at = $5 WHERE api_key_id = $6",
            following.digest,
            given.digest,
            seed,
            expires_at,
            now,
            key.id,
        )
        await transaction.execute(
            "UPDATE api_keys SET hashed_secret = $1, expires_at = $2, updated_at = $3"
            " WHERE id = $4",
            hash_secret(access),
            expires_at,
            now,
            key.id,
        )
        left = int((expires_at - now).total_seconds())
        return Issued(f"{key.id}-{access}", following.text, left, user)

    async def revoke(self, text: str) -> bool:
        """End the sign-in of an access token or a refresh token; return whether there was one."""
        if (refresh := read_refresh_token(text)) is not None:
            rows = await self._database.fetch(
                "SELECT family_digest AS digest FROM refresh_tokens WHERE api_key_id = $1",
                refresh.id,
            )
            token_id, digest = refresh.id, refresh.family_digest
        elif (token := tokens.parse(text)) is not None:
            rows = await self._database.fetch(
                "SELECT k.hashed_secret AS digest FROM api_keys k"
                " JOIN refresh_tokens r ON r.api_key_id = k.id WHERE k.id = $1",
                token.id,
            )
            token_id, digest = token.id, token.digest
        else:
            return False
        if not rows or not hmac.compare_digest(bytes(rows[0]["digest"]), digest):
            return False
        async with self._database.transaction() as transaction:
            keys = await transaction.fetch(f"{SELECT_KEY} WHERE k.id = $1", token_id)
            await transaction.execute("DELETE FROM api_keys WHERE id = $1", token_id)
            if keys:
                await self._note_key(transaction, Action.LOGOUT, ApiKey.of(keys[0]))
        return True
