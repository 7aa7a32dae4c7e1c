"""The data of a Coder server, and its rules for tokens."""

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from authz.core.tokens import CoderToken, generate, hash_secret

SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."
NOT_FOUND = "Resource not found or you do not have access to this resource"
DEFAULT_LIFETIME = timedelta(hours=168)
SESSION_LIFETIME = timedelta(hours=24)
MAX_LIFETIME = timedelta(hours=876_600)
_HOUR = timedelta(hours=1)
_ALL = {"coder:all", "all"}


class Refused(Exception):  # noqa: N818 - it is an answer, in Coder's shape
    """An answer that is not a success."""

    def __init__(
        self, status: int, message: str, detail: str = "", validations: list[Any] | None = None
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.body = {"message": message}
        self.body |= {"detail": detail} if detail else {}
        self.body |= {"validations": validations} if validations else {}  # type: ignore[dict-item]


@dataclass
class User:
    """A row of Coder's ``users``."""

    username: str
    email: str
    created_at: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "active"
    login_type: str = "password"
    last_seen_at: datetime = datetime(1, 1, 1, tzinfo=UTC)

    def as_json(self) -> dict[str, Any]:
        """Return the object that the API shows."""
        return {
            "id": self.id,
            "username": self.username,
            "avatar_url": "",
            "name": "",
            "email": self.email,
            "created_at": timestamp(self.created_at),
            "updated_at": timestamp(self.created_at),
            "last_seen_at": timestamp(self.last_seen_at),
            "status": self.status,
            "login_type": self.login_type,
            "theme_preference": "",
            "is_service_account": False,
            "has_ai_seat": False,
            "organization_ids": [str(uuid.UUID(int=1))],
            "roles": [],
        }


@dataclass
class ApiKey:
    """A row of Coder's ``api_keys``."""

    id: str
    hashed_secret: bytes
    user_id: str
    created_at: datetime
    expires_at: datetime
    lifetime: timedelta
    login_type: str
    token_name: str
    scopes: list[str]
    last_used: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    audience_fails: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the object that the API shows; the hash is not in it."""
        return {
            "id": self.id,
            "user_id": self.user_id,
            "last_used": timestamp(self.last_used),
            "expires_at": timestamp(self.expires_at),
            "created_at": timestamp(self.created_at),
            "updated_at": timestamp(self.created_at),
            "login_type": self.login_type,
            "scope": "all" if set(self.scopes) & _ALL else "",
            "scopes": self.scopes,
            "token_name": self.token_name,
            "lifetime_seconds": int(self.lifetime.total_seconds()),
            "allow_list": ["*:*"],
        }

    def may(self, action: str) -> bool:
        """Return whether the scopes include ``action``, such as ``user:read``."""
        wanted = _ALL | {action, f"{action.partition(':')[0]}:*"}
        return bool(wanted & set(self.scopes))


class CoderState:
    """Users and keys; every method is atomic, also between threads.

    Attributes:
        newer: whether long-lived tokens keep their expiry, and lists hide expired ones.
        offset: how far its clock is ahead of the real one.
    """

    def __init__(self, *, newer: bool = True) -> None:
        self.newer = newer
        self.offset = timedelta()
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.keys: dict[str, ApiKey] = {}

    def now(self) -> datetime:
        """Return the time by this server's clock."""
        return datetime.now(UTC) + self.offset

    def create_user(self, username: str, *, status: str = "active") -> User:
        """Add a user, without a check of the name."""
        with self.lock:
            user = User(username, f"{username}@example.com", self.now(), status=status)
            self.users[user.id] = user
            return user

    def set_status(self, username: str, status: str) -> None:
        """Suspend a user, or make them active or dormant."""
        with self.lock:
            self.user(username).status = status

    def delete_user(self, username: str) -> None:
        """Delete a user, and with them their keys."""
        with self.lock:
            user = self.users.pop(self.user(username).id)
            self.keys = {key.id: key for key in self.keys.values() if key.user_id != user.id}

    def user(self, name: str, me: User | None = None) -> User:
        """Find a user by uuid, name or ``me``; Refused 404."""
        with self.lock:
            if name == "me" and me is not None:
                return me
            for user in self.users.values():
                if name in (user.id, user.username):
                    return user
        raise Refused(404, NOT_FOUND)

    def create_key(
        self,
        username: str,
        *,
        lifetime: timedelta | None = None,
        name: str = "",
        login_type: str = "token",
        scopes: list[str] | None = None,
    ) -> str:
        """Add a key and return its text.

        Args:
            lifetime: 168 hours for a long-lived token, 24 for a session, when None.
            login_type: ``token``, or ``password``, ``github``, ``oidc`` for a session.
        """
        text, token = generate()
        if lifetime is None:
            lifetime = DEFAULT_LIFETIME if login_type == "token" else SESSION_LIFETIME
        with self.lock:
            owner, now = self.user(username), self.now()
            if name and any(
                key.token_name == name and key.user_id == owner.id for key in self.keys.values()
            ):
                message = f'A token with name "{name}" already exists.'
                field_error = {"field": "name", "detail": "This value is already in use"}
                raise Refused(409, message, validations=[field_error])
            self.keys[token.id] = ApiKey(
                id=token.id,
                hashed_secret=token.digest,
                user_id=owner.id,
                created_at=now,
                expires_at=now + lifetime,
                lifetime=lifetime,
                login_type=login_type,
                token_name=name,
                scopes=scopes or ["coder:all"],
            )
        return text

    def key(self, owner: User, key_id: str) -> ApiKey:
        """Find a key of a user; Refused 404."""
        with self.lock:
            key = self.keys.get(key_id)
            if key is None or key.user_id != owner.id:
                raise Refused(404, NOT_FOUND)
            return key

    def delete_key(self, text_or_id: str) -> None:
        """Remove a key, given as its id or its whole text."""
        with self.lock:
            del self.keys[text_or_id.partition("-")[0]]

    def expire_key(self, text_or_id: str) -> None:
        """End a key's life now, and keep its row."""
        with self.lock:
            self.keys[text_or_id.partition("-")[0]].expires_at = self.now()

    def authenticate(self, text: str) -> tuple[ApiKey, User]:
        """Check a token as the ordinary API does, side effects included.

        Raises:
            Refused: 401 or 403, with the texts of section 5.1.
        """
        with self.lock:
            now = self.now()
            token = _parse(text)
            key = self.keys.get(token.id)
            if key is None:
                raise Refused(401, SIGNED_OUT, "API key is invalid.")
            if key.hashed_secret != token.digest:
                raise Refused(401, SIGNED_OUT, "API key secret is invalid.")
            if key.expires_at < now:
                at = f"{key.expires_at:%Y-%m-%d %H:%M:%S.%f} +0000 UTC"
                raise Refused(401, SIGNED_OUT, f'API key expired at "{at}".')
            user = self.users[key.user_id]
            if key.audience_fails:
                raise Refused(403, "Token audience validation failed")
            if user.status == "suspended":
                raise Refused(
                    401,
                    'User is not active (status = "suspended"). '
                    "Contact an admin to reactivate your account.",
                )
            user.status = "active"
            self._touch(key, user, now)
            return key, user

    def _touch(self, key: ApiKey, user: User, now: datetime) -> None:
        if now - key.last_used > _HOUR:
            key.last_used = user.last_seen_at = now
        slides = key.login_type != "token" or not self.newer
        if slides and key.expires_at - now <= key.lifetime - _HOUR:
            key.expires_at = now + key.lifetime


def timestamp(moment: datetime) -> str:
    """Write a time as Go's JSON does."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}".rstrip("0").rstrip(".").zfill(19) + "Z"


def _parse(text: str) -> CoderToken:
    if not text:
        detail = 'Cookie "coder_session_token" or query parameter must be provided.'
        raise Refused(401, SIGNED_OUT, detail)
    parts = text.split("-")
    problem = ""
    if len(parts) != 2:
        problem = f"incorrect amount of API key parts, expected 2 got {len(parts)}"
    elif len(parts[0]) != 10:
        problem = f"invalid API key ID length, expected 10 got {len(parts[0])}"
    elif len(parts[1]) != 22:
        problem = f"invalid API key secret length, expected 22 got {len(parts[1])}"
    if problem:
        raise Refused(401, SIGNED_OUT, f"Invalid API key format: {problem}")
    return CoderToken(parts[0], hash_secret(parts[1]))
