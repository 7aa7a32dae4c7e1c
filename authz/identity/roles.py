"""The rights of Coder's site-wide roles, as pure functions."""

from collections.abc import Collection
from datetime import timedelta

from authz import lifetimes
from authz.errors import StoreError
from authz.identity.accounts import User

OWNER = "owner"
USER_ADMIN = "user-admin"
MEMBER = "member"
"""The name for a user without a role, which is not stored, as in Coder."""

STORED = (OWNER, USER_ADMIN)
"""The roles that ``users.rbac_roles`` may hold."""


def check_role(role: str) -> tuple[str, ...]:
    """Return the value of ``rbac_roles`` for a role.

    Raises:
        StoreError: there is no such role.
    """
    if role == MEMBER:
        return ()
    if role not in STORED:
        raise StoreError(f"a role must be one of {OWNER}, {USER_ADMIN}, {MEMBER}")
    return (role,)


def is_owner(user: User) -> bool:
    """Return whether a user may do everything."""
    return OWNER in user.roles


def may_manage_users(user: User) -> bool:
    """Return whether a user may create, suspend, activate and delete others."""
    return bool({OWNER, USER_ADMIN} & set(user.roles))


def may_manage(user: User, other: User) -> bool:
    """Return whether a user may suspend, activate, delete or give a password to another.

    A user administrator may not change owners: with a new password they could sign in as one.
    """
    return is_owner(user) or (USER_ADMIN in user.roles and not is_owner(other))


def may_use_tokens_of(user: User, other: User) -> bool:
    """Return whether a user may see, create and end another's tokens.

    Users may manage their own tokens, owners all tokens, and user administrators those of service
    accounts without a role. With a token of an owner they would have an owner's rights.
    """
    if user.id == other.id or is_owner(user):
        return True
    return USER_ADMIN in user.roles and other.is_service_account and not other.roles


def may_see(user: User, other: User) -> bool:
    """Return whether a user may see another; users that they may not see are "not found"."""
    return user.id == other.id or may_manage_users(user)


def may_give(user: User, roles: Collection[str]) -> bool:
    """Return whether a user may assign these roles; only owners may assign any."""
    return is_owner(user) or not roles


def may_see_groups(user: User) -> bool:
    """Return whether a user may list all groups and their members; others see their own groups."""
    return may_manage_users(user)


def may_change_groups(user: User) -> bool:
    """Return whether a user may create, change and delete groups with their rules.

    A group's rules may limit owners and the user administrators themselves.
    """
    return is_owner(user)


def may_move(user: User, other: User) -> bool:
    """Return whether a user may add another to local groups and remove them.

    User administrators may not move themselves: it could widen what they may do.
    """
    return is_owner(user) or (may_manage(user, other) and user.id != other.id)


def longest_lifetime(owner: User) -> timedelta:
    """Return the longest lifetime of an owner's tokens, which depends on the owner's roles."""
    return lifetimes.ADMIN_MAXIMUM if is_owner(owner) else lifetimes.MAXIMUM
