"""Users of identity providers: each is linked to an issuer and its subject."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from authz.core.tokens import has_token_shape
from authz.database.interface import Conflict, Queries
from authz.errors import StoreError
from authz.identity import roles as known_roles
from authz.identity.accounts import User
from authz.identity.audit import Action
from authz.identity.store_base import SELECT_USER, StoreBase

SUBJECT_LENGTH = 255
"""The maximum length of a subject (OpenID Connect Core 1.0 section 2)."""
_SUFFIXES = 50


class AddressTaken(StoreError):  # noqa: N818 - the sign-in answers it with a page of its own
    """Another user has the e-mail address of a person who signs in for the first time.

    Attributes:
        username: the name of that user.
    """

    def __init__(self, username: str) -> None:
        super().__init__("another user has this e-mail address")
        self.username = username


@dataclass(frozen=True, slots=True)
class Subject:
    """A person at an identity provider.

    Attributes:
        issuer: the URL of the issuer.
        id: the ``sub`` claim, which the issuer never gives to another person.
    """

    issuer: str
    id: str


@dataclass(frozen=True, slots=True)
class Link:
    """A subject who can sign in as a user."""

    subject: Subject
    created_at: datetime


class LinkStore(StoreBase):
    """The part of the store that knows users by issuer and subject."""

    async def find_linked(self, subject: Subject) -> User | None:
        """Return the user whom a subject signs in as, or None."""
        rows = await self._database.fetch(
            f"{SELECT_USER} AND u.id ="  # noqa: S608 - constants
            " (SELECT user_id FROM user_links WHERE issuer = $1 AND subject = $2)",
            subject.issuer,
            subject.id,
        )
        return User.of(rows[0]) if rows else None

    async def links_of(self, user: User) -> list[Link]:
        """Return the subjects who can sign in as a user."""
        rows = await self._database.fetch(
            "SELECT issuer, subject, created_at FROM user_links WHERE user_id = $1"
            " ORDER BY issuer, subject",
            user.id,
        )
        return [Link(Subject(row["issuer"], row["subject"]), row["created_at"]) for row in rows]

    async def create_linked(
        self, subject: Subject, name: str, *, email: str, full_name: str, role: str
    ) -> User:
        """Create the user of a subject who signs in for the first time.

        Args:
            subject: has no user yet.
            name: a valid user name. If another user has it, a number is appended.
            email: unique if not empty.
            full_name: the name for people.
            role: ``owner``, ``user-admin`` or ``member``.

        Raises:
            AddressTaken: another user has the e-mail address.
        """
        for number in range(1, _SUFFIXES):
            ending = f"-{number}" if number > 1 else ""
            fitting = name[: 32 - len(ending)].rstrip("-") + ending
            try:
                return await self._insert_linked(subject, fitting, email, full_name, role)
            except Conflict:
                # Another process may have created the user for the same person.
                if (user := await self.find_linked(subject)) is not None:
                    return user
                sql = f"{SELECT_USER} AND lower(u.email) = lower($1)"
                if email and (rows := await self._database.fetch(sql, email)):
                    raise AddressTaken(User.of(rows[0]).username) from None
        raise StoreError(f"there are {_SUFFIXES} users named {name}: give the person another name")

    async def _insert_linked(
        self, subject: Subject, name: str, email: str, full_name: str, role: str
    ) -> User:
        user_id, now = str(uuid.uuid4()), datetime.now(UTC)
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "INSERT INTO users (id, email, username, status, login_type, rbac_roles,"
                " created_at, updated_at, name) VALUES ($1, $2, $3, 'active', 'oidc', $4, $5, $5,"
                " $6)",
                user_id,
                email,
                name,
                known_roles.check_role(role),
                now,
                full_name,
            )
            await self._insert_link(transaction, user_id, subject, role, now)
            user = await _read(transaction, user_id)
            fields = {"kind": "person", "role": role}
            await self._note(transaction, Action.CREATE, user, **fields, **_shown(subject))
        return user

    async def link_user(self, user: User, subject: Subject) -> None:
        """Let a subject sign in as an existing user.

        Raises:
            StoreError: the subject has a user already, or the user can't sign in.
        """
        if user.is_service_account:
            raise StoreError(f"{user.username} is a service account, which can't sign in")
        if problem := check_subject(subject.id):
            raise StoreError(problem)
        role = user.roles[0] if user.roles else known_roles.MEMBER
        try:
            async with self._database.transaction() as transaction:
                await self._check_actor(transaction, user)
                await _read(transaction, user.id)
                await self._insert_link(transaction, user.id, subject, role, datetime.now(UTC))
                await self._note(transaction, Action.LINK, user, **_shown(subject))
        except Conflict:
            linked = await self.find_linked(subject)
            name = linked.username if linked else "another user"
            raise StoreError(
                f"this subject signs in as {name}: remove that with 'authz users unlink {name}'"
            ) from None

    async def unlink_user(self, user: User, issuer: str | None = None) -> int:
        """Let no subject, or none of an issuer, sign in as a user. Sessions that began so end.

        Returns:
            The number of removed links.
        """
        condition = "" if issuer is None else " AND issuer = $2"
        arguments = () if issuer is None else (issuer,)
        async with self._database.transaction() as transaction:
            await self._check_actor(transaction, user)
            gone = await transaction.execute(
                f"DELETE FROM user_links WHERE user_id = $1{condition}",  # noqa: S608 - constants
                user.id,
                *arguments,
            )
            if gone:
                await transaction.execute(
                    "DELETE FROM api_keys WHERE user_id = $1 AND login_type = 'oidc'", user.id
                )
                await self._note(transaction, Action.UNLINK, user, issuer=issuer or "all")
        return gone

    async def update_linked(
        self, user: User, subject: Subject, *, email: str, full_name: str, role: str | None
    ) -> User:
        """Take over what an identity provider says about a user, where it changed.

        A role that was given locally stays: the provider's role applies only while the user has
        the role that the provider gave at the last sign-in.

        Args:
            user: who signs in.
            subject: at the identity provider.
            email: empty keeps the user's address, as does the address of another user.
            full_name: empty keeps the user's name.
            role: None if the identity provider does not choose roles.
        """
        if email and email.casefold() != user.email.casefold():
            sql = f"{SELECT_USER} AND lower(u.email) = lower($1)"
            if await self._database.fetch(sql, email):
                email = ""
        email, full_name = email or user.email, full_name or user.name
        async with self._database.transaction() as transaction:
            given = await self._given_role(transaction, subject)
            before = await _read(transaction, user.id)
            current = before.roles[0] if before.roles else known_roles.MEMBER
            after = role if role is not None and current == given else current
            if (email, full_name, after) != (before.email, before.name, current):
                await transaction.execute(
                    "UPDATE users SET email = $1, name = $2, rbac_roles = $3, updated_at = $4"
                    " WHERE id = $5",
                    email,
                    full_name,
                    known_roles.check_role(after),
                    datetime.now(UTC),
                    user.id,
                )
            if role is not None and role != given:
                await transaction.execute(
                    "UPDATE user_links SET role = $1 WHERE issuer = $2 AND subject = $3",
                    role,
                    subject.issuer,
                    subject.id,
                )
            if after != current:
                await self._note(
                    transaction,
                    Action.ROLES,
                    user,
                    before=[current],
                    after=[after],
                    issuer=subject.issuer,
                )
            return await _read(transaction, user.id)

    async def _given_role(self, transaction: Queries, subject: Subject) -> str:
        rows = await transaction.fetch(
            "SELECT role FROM user_links WHERE issuer = $1 AND subject = $2",
            subject.issuer,
            subject.id,
        )
        if not rows:
            raise StoreError("the link to the identity provider was removed meanwhile")
        return str(rows[0]["role"])

    async def _insert_link(
        self, transaction: Queries, user_id: str, subject: Subject, role: str, now: datetime
    ) -> None:
        await transaction.execute(
            "INSERT INTO user_links (issuer, subject, user_id, role, created_at)"
            " VALUES ($1, $2, $3, $4, $5)",
            subject.issuer,
            subject.id,
            user_id,
            role,
            now,
        )


def check_subject(subject: str) -> str | None:
    """Return the problem with a subject, or None."""
    if has_token_shape(subject):
        return "this subject looks like a token: copy the sub claim instead"
    if not 0 < len(subject) <= SUBJECT_LENGTH or not subject.isprintable():
        return f"a subject has 1 to {SUBJECT_LENGTH} printable characters"
    return None


def _shown(subject: Subject) -> dict[str, str]:
    return {"issuer": subject.issuer, "subject": subject.id}


async def _read(transaction: Queries, user_id: str) -> User:
    rows = await transaction.fetch(f"{SELECT_USER} AND u.id = $1", user_id)
    if not rows:
        raise StoreError("the user was deleted meanwhile")
    return User.of(rows[0])
