"""Writing of new tokens and sessions to the store."""

from datetime import UTC, datetime, timedelta

from authz import lifetimes
from authz.core import tokens
from authz.core.rules import TokenRules
from authz.database.interface import Queries
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.accounts import ApiKey, User, rfc3339
from authz.identity.audit import Action, Change, Resource
from authz.identity.names import rotated_name
from authz.identity.roles import longest_lifetime
from authz.identity.store_base import SELECT_KEY
from authz.identity.store_purge import PurgeStore


class NameTaken(StoreError):  # noqa: N818 - the API answers it with a status of its own
    """The user has a token with this name."""


class NotRotated(StoreError):  # noqa: N818
    """The token can't be rotated, such as one that has ended."""


class TooManyTokens(StoreError):  # noqa: N818
    """The user has as many tokens as a user may have."""


class OwnerChanged(StoreError):  # noqa: N818
    """The owner of a new key was deleted or suspended meanwhile, or has another password."""


class KeyWriter(PurgeStore):
    """The part of the store that writes new tokens and sessions."""

    async def _insert(
        self,
        user: User,
        name: str,
        lifetime: timedelta,
        login_type: str,
        rules: TokenRules,
        *,
        proven_by: bytes | None = None,
        instead_of: str | None = None,
        digest: bytes | None = None,
        rotated: tuple[ApiKey, timedelta] | None = None,
        is_counted: bool = False,
    ) -> tuple[str, ApiKey]:
        if not timedelta(0) < lifetime <= lifetimes.MAXIMUM:
            raise StoreError("a lifetime must be greater than 0 and at most 876600h")
        if lifetime > (longest := longest_lifetime(user)):
            hours = longest // timedelta(hours=1)
            raise StoreError(
                f"{user.username} is an owner: the lifetime of owners' tokens is at most {hours}h"
            )
        await self._purge()
        async with self._database.transaction() as transaction:
            return await self._write_key(
                transaction,
                user,
                name,
                lifetime,
                login_type,
                rules,
                proven_by=proven_by,
                instead_of=instead_of,
                digest=digest,
                rotated=rotated,
                is_counted=is_counted,
            )

    async def _write_key(
        self,
        transaction: Queries,
        user: User,
        name: str,
        lifetime: timedelta,
        login_type: str,
        rules: TokenRules,
        *,
        proven_by: bytes | None = None,
        instead_of: str | None = None,
        digest: bytes | None = None,
        rotated: tuple[ApiKey, timedelta] | None = None,
        is_counted: bool = False,
    ) -> tuple[str, ApiKey]:
        text, token = tokens.generate()
        now = datetime.now(UTC)
        await self._check_actor(transaction, user)
        await self._check_owner(transaction, user, proven_by)
        if is_counted:
            await self._check_number(transaction, user, now, rotated[0].id if rotated else "")
        if rotated is not None:
            await self._retire(transaction, *rotated, now=now, successor=token.id)
        await transaction.execute(
            "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at,"
            " updated_at, login_type, lifetime_seconds, token_name, authz_rules)"
            " VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9)",
            token.id,
            digest or token.digest,
            user.id,
            now + lifetime,
            now,
            login_type,
            int(lifetime.total_seconds()),
            name,
            rules.as_text(),
        )
        if rotated is not None:
            # The new token must not be wider than the old one.
            await transaction.execute(
                "UPDATE api_keys SET scopes = (SELECT scopes FROM api_keys WHERE id = $2),"
                " allow_list = (SELECT allow_list FROM api_keys WHERE id = $2) WHERE id = $1",
                token.id,
                rotated[0].id,
            )
        if instead_of is not None:
            await transaction.execute(
                "DELETE FROM api_keys WHERE id = $1 AND user_id = $2 AND login_type <> 'token'",
                instead_of,
                user.id,
            )
        rows = await transaction.fetch(f"{SELECT_KEY} WHERE k.id = $1", token.id)
        key = ApiKey.of(rows[0])
        action = Action.CREATE if login_type == "token" else Action.LOGIN
        details = {"lifetime_seconds": key.lifetime_seconds, "rules": rules.as_json()}
        await self._note_key(transaction, action, key, **details)
        return text, key

    async def _retire(
        self,
        transaction: Queries,
        old: ApiKey,
        overlap: timedelta,
        *,
        now: datetime,
        successor: str,
    ) -> None:
        end = min(old.expires_at, now + overlap)
        # The condition fails if another call has ended or rotated the token meanwhile.
        retired = await transaction.execute(
            "UPDATE api_keys SET token_name = $1, expires_at = $2, updated_at = $3"
            " WHERE id = $4 AND token_name = $5 AND expires_at = $6 AND expires_at > $3",
            rotated_name(old.token_name, old.id),
            end,
            now,
            old.id,
            old.token_name,
            old.expires_at,
        )
        if not retired:
            raise NotRotated(
                "the token has ended or was changed meanwhile: 'authz tokens list' shows the"
                " tokens that work, 'authz tokens create' creates a new one"
            )
        details = {"successor": successor, "expires_at": rfc3339(end)}
        await self._note_key(transaction, Action.ROTATE, old, **details)

    async def _check_owner(self, transaction: Queries, user: User, proven_by: bytes | None) -> None:
        rows = await transaction.fetch(
            "SELECT status, hashed_password FROM users WHERE id = $1 AND deleted = false", user.id
        )
        if not rows:
            raise OwnerChanged(f"the user {user.username} was deleted")
        if (status := rows[0]["status"]) != "active":
            raise OwnerChanged(
                f"the user {user.username} is {status}: 'authz users activate {user.username}'"
            )
        if proven_by is not None and bytes(rows[0]["hashed_password"]) != proven_by:
            raise OwnerChanged("the password was changed meanwhile")

    async def _check_number(
        self, transaction: Queries, user: User, now: datetime, replaced: str
    ) -> None:
        """Refuse a token beyond the number that a user may have; ended ones do not count.

        Args:
            replaced: the id of a token that the new one replaces, which does not count.
        """
        rows = await transaction.fetch(
            "SELECT count(*) AS live FROM api_keys WHERE user_id = $1 AND login_type = 'token'"
            " AND expires_at >= $2 AND id <> $3",
            user.id,
            now,
            replaced,
        )
        if rows[0]["live"] >= (most := self._memory.max_tokens):
            raise TooManyTokens(
                f"{user.username} has {rows[0]['live']} valid tokens, and at most {most} are"
                " allowed: remove some, or let an administrator raise tokens.max_per_user"
            )

    async def _note_key(
        self, transaction: Queries, action: Action, key: ApiKey, **fields: object
    ) -> None:
        change = Change(
            action,
            Resource.API_KEY,
            key.id,
            key.token_name,
            key.username,
            {"login_type": key.login_type, **fields},
        )
        await audit.record(transaction, self._actor, change)
