"""Provider keys that users store. The store never returns one; a check reads the envelope."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from authz.core import tokens
from authz.database.interface import Queries, Row
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import User, rfc3339
from authz.identity.audit import Action, Change, Resource
from authz.identity.store_base import StoreBase
from authz.keys.sources import checked_key
from authz.own_keys.envelope import BadEnvelope, MasterKey
from authz.own_keys.schema import has_table, prepare
from authz.secret import Secret

MAX_LENGTH = 16_000
"""The longest key in characters; some providers' keys are signed tokens of several kilobytes."""
_HINT_FROM = 20
_PROVIDER = re.compile(r"[a-z0-9-]{1,64}")
_BATCH = 100
Open = Callable[[str, str, str], Secret]


class KeyRefused(StoreError):  # noqa: N818 - the API answers it with a status of its own
    """A text can't be a provider key; the message does not show it."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A stored key, without the key.

    Attributes:
        hint: its last four characters, so that its owner recognizes it; empty for a short key.
    """

    provider: str
    hint: str
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the key as JSON-ready values."""
        return {
            "provider": self.provider,
            "hint": self.hint,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
        }


def check_own_key(text: str) -> Secret:
    """Return a provider key from the text that a user gives.

    Raises:
        KeyRefused: the text can't be a key, or holds a Coder token.
    """
    stripped = text.strip()
    try:
        if tokens.holds_token(stripped):
            raise ValueError("holds a Coder token, not a provider key")
        if len(stripped) > MAX_LENGTH:
            raise ValueError(f"is longer than {MAX_LENGTH} characters")
        return checked_key(stripped)
    except ValueError as error:
        raise KeyRefused(f"the text {error}") from None


class OwnKeyStore(StoreBase):
    """The stored keys in a database with the identity tables."""

    async def prepare(self) -> bool:
        """Create the table if it is missing; return whether anything changed."""
        return await prepare(self._database)

    async def list_keys(self, user: User) -> list[OwnKey]:
        """Return the keys that a user has stored, by provider."""
        if not await has_table(self._database):
            return []
        rows = await self._database.fetch(
            "SELECT provider, hint, created_at, updated_at FROM own_keys"
            " WHERE user_id = $1 ORDER BY provider",
            user.id,
        )
        return [_key(row) for row in rows]

    async def set_key(
        self, user: User, provider: str, key: Secret, master: MasterKey
    ) -> tuple[OwnKey, bool]:
        """Store a key, effective with the next request; it replaces an earlier one.

        Args:
            user: the owner, who has to exist when the key is stored.
            provider: the name of a provider.
            key: from ``check_own_key``.
            master: encrypts the key.

        Returns:
            The key, and whether it is the user's first one for this provider.
        """
        await self.prepare()
        now, hint = datetime.now(UTC), _hint(key)
        envelope = master.seal(key, user.id, provider)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            found = await transaction.fetch(
                "SELECT id FROM users WHERE id = $1 AND deleted = false", user.id
            )
            if not found:
                raise StoreError("the user was deleted meanwhile")
            changed = await transaction.execute(
                "UPDATE own_keys SET envelope = $3, key_id = $4, hint = $5, updated_at = $6"
                " WHERE user_id = $1 AND provider = $2",
                user.id,
                provider,
                envelope,
                master.id,
                hint,
                now,
            )
            if not changed:
                await transaction.execute(
                    "INSERT INTO own_keys"
                    " (user_id, provider, envelope, key_id, hint, created_at, updated_at)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $6)",
                    user.id,
                    provider,
                    envelope,
                    master.id,
                    hint,
                    now,
                )
            action = Action.WRITE if changed else Action.CREATE
            await self._record(transaction, action, user, provider)
            rows = await transaction.fetch(
                "SELECT provider, hint, created_at, updated_at FROM own_keys"
                " WHERE user_id = $1 AND provider = $2",
                user.id,
                provider,
            )
        return _key(rows[0]), not changed

    async def remove_key(self, user: User, provider: str) -> bool:
        """Delete a stored key, effective with the next request; return whether there was one."""
        if _PROVIDER.fullmatch(provider) is None or not await has_table(self._database):
            return False
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction)
            gone = await transaction.execute(
                "DELETE FROM own_keys WHERE user_id = $1 AND provider = $2", user.id, provider
            )
            if gone:
                await self._record(transaction, Action.DELETE, user, provider)
        return bool(gone)

    async def rotate(self, open_: Open, newest: MasterKey) -> tuple[int, list[str]]:
        """Encrypt every key again that another master key than the newest encrypts.

        Args:
            open_: decrypts an envelope of a user and a provider.
            newest: encrypts.

        Returns:
            The number of changed records, and a line for each record that does not open.
        """
        if not await has_table(self._database):
            return 0, []
        done, problems, after = 0, [], ("00000000-0000-0000-0000-000000000000", "")
        while True:
            async with self._database.transaction() as transaction:
                rows = await transaction.fetch(
                    "SELECT o.user_id, o.provider, o.envelope, u.username"
                    " FROM own_keys o JOIN users u ON u.id = o.user_id"
                    " WHERE o.key_id <> $1 AND (o.user_id, o.provider) > ($2, $3)"
                    " ORDER BY o.user_id, o.provider LIMIT $4",
                    newest.id,
                    *after,
                    _BATCH,
                )
                for row in rows:
                    user_id, provider = str(row["user_id"]), row["provider"]
                    after = user_id, provider
                    try:
                        key = open_(row["envelope"], user_id, provider)
                    except BadEnvelope as error:
                        problems.append(f"{row['username']}, provider {provider}: {error}")
                        continue
                    done += await transaction.execute(
                        "UPDATE own_keys SET envelope = $3, key_id = $4"
                        " WHERE user_id = $1 AND provider = $2",
                        user_id,
                        provider,
                        newest.seal(key, user_id, provider),
                        newest.id,
                    )
            if len(rows) < _BATCH:
                return done, problems

    async def _record(
        self, transaction: Queries, action: Action, user: User, provider: str
    ) -> None:
        change = Change(action, Resource.OWN_KEY, user.id, provider, user.username)
        await audit.record(transaction, self._actor, change)


def _hint(key: Secret) -> str:
    text = key.reveal()
    return f"...{text[-4:]}" if len(text) >= _HINT_FROM else ""


def _key(row: Row) -> OwnKey:
    return OwnKey(row["provider"], row["hint"], row["created_at"], row["updated_at"])
