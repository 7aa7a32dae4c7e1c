"""Users and API keys of the store, and their JSON in the format of Coder's API."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from authz.core.rules import TokenRules, read_rules
from authz.database.interface import Row

ORGANIZATION_ID = "73fb782d-ac8e-545e-8187-716590c619bc"
"""The id of the only organization, which has all users. Coder's clients need one."""

_NEVER_SEEN = datetime.min.replace(tzinfo=UTC)
_NEVER_USED = datetime.fromtimestamp(0, UTC)
"""Coder's value for a key that was never used; for a user it is Go's zero time."""


@dataclass(frozen=True, slots=True)
class User:
    """A user who is not deleted.

    Attributes:
        id: a UUID.
        email: empty if the user has none.
        status: ``active``, ``dormant`` or ``suspended``.
        last_seen_at: None if the user was never seen.
        roles: roles of ``authz.identity.roles``; empty for a member.
        has_password: whether the user can sign in with a password.
    """

    id: str
    username: str
    email: str
    name: str
    status: str
    login_type: str
    is_service_account: bool
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime | None
    roles: tuple[str, ...]
    has_password: bool

    @classmethod
    def of(cls, row: Row) -> "User":
        """Return the user of a row with the columns of ``USER_COLUMNS``."""
        values = [row[f"user_{column}"] for column in _USER]
        values += (tuple(row["user_rbac_roles"]), bool(row["user_has_password"]))
        return cls(*values)

    def as_json(self) -> dict[str, Any]:
        """Return the user object of Coder's API."""
        return {
            "id": self.id,
            "username": self.username,
            "email": self.email,
            "name": self.name,
            "status": self.status,
            "roles": [{"name": role, "display_name": role_title(role)} for role in self.roles],
            "organization_ids": [ORGANIZATION_ID],
            "avatar_url": "",
            "theme_preference": "",
            "login_type": self.login_type,
            "is_service_account": self.is_service_account,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "last_seen_at": rfc3339(self.last_seen_at or _NEVER_SEEN),
        }


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The record of a token or session, without the secret and its hash.

    Attributes:
        id: the token's first 10 characters.
        username: the owner's name.
        token_name: empty for sessions.
        login_type: ``token``, or the way in which the session began.
        rules: the limits of the token.
        last_used: None if the key was never used.
    """

    id: str
    user_id: str
    username: str
    token_name: str
    login_type: str
    scopes: tuple[str, ...]
    allow_list: tuple[str, ...]
    lifetime_seconds: int
    last_used: datetime | None
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    rules: TokenRules

    @classmethod
    def of(cls, row: Row) -> "ApiKey":
        """Return the key of a row with the columns of ``KEY_COLUMNS``."""
        return cls(
            id=row["id"],
            user_id=row["user_id"],
            username=row["user_username"],
            token_name=row["token_name"],
            login_type=row["login_type"],
            scopes=tuple(row["scopes"]),
            allow_list=tuple(row["allow_list"]),
            lifetime_seconds=row["lifetime_seconds"],
            last_used=row["last_used"],
            expires_at=row["expires_at"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            rules=read_rules(row["authz_rules"]),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the key object of Coder's token API.

        ``rules`` is an addition that Coder's clients ignore.
        """
        return {
            "id": self.id,
            "user_id": self.user_id,
            "last_used": rfc3339(self.last_used or _NEVER_USED),
            "expires_at": rfc3339(self.expires_at),
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "login_type": self.login_type,
            # Coder's older, single scope had no prefix.
            "scope": self.scopes[0].removeprefix("coder:") if self.scopes else "",
            "scopes": list(self.scopes),
            "token_name": self.token_name,
            "lifetime_seconds": self.lifetime_seconds,
            "allow_list": list(self.allow_list),
            "rules": self.rules.as_json(),
        }


_USER = (
    "id",
    "username",
    "email",
    "name",
    "status",
    "login_type",
    "is_service_account",
    "created_at",
    "updated_at",
    "last_seen_at",
)
_KEY = (
    "id",
    "user_id",
    "token_name",
    "login_type",
    "scopes",
    "allow_list",
    "lifetime_seconds",
    "last_used",
    "expires_at",
    "created_at",
    "updated_at",
    "authz_rules",
)
USER_COLUMNS = (
    ", ".join(f"u.{column} AS user_{column}" for column in (*_USER, "rbac_roles"))
    + ", length(u.hashed_password) > 0 AS user_has_password"
)
"""The columns that ``User.of`` reads from ``users u``."""
KEY_COLUMNS = ", ".join(f"k.{column}" for column in _KEY) + ", u.username AS user_username"
"""The columns that ``ApiKey.of`` reads from ``api_keys k`` joined with ``users u``."""


def role_title(role: str) -> str:
    """Return Coder's display name of a role, such as ``User Admin``."""
    return role.replace("-", " ").title()


def rfc3339(moment: datetime) -> str:
    """Return a UTC time in the format of RFC 3339, with ``Z``."""
    return moment.isoformat().replace("+00:00", "Z")
