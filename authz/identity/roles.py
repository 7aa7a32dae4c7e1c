"""Who may do what to whom, by Coder's site-wide roles. Pure functions."""

from collections.abc import Collection
from datetime import timedelta

from authz import lifetimes
from authz.errors import StoreError
from authz.identity.accounts import User

OWNER = "owner"
USER_ADMIN = "user-admin"
MEMBER = "member"
"""What a user without a role is; Coder stores no role for it, and neither do we."""

STORED = (OWNER, USER_ADMIN)
"""The roles that ``users.rbac_roles`` may hold."""


def check_role(role: str) -> tuple[str, ...]:
    """Return what ``rbac_roles`` holds for a role; StoreError when there is no such role."""
    if role == MEMBER:
        return ()
    if role not in STORED:
        raise StoreError(f"a role is one of {OWNER}, {USER_ADMIN}, {MEMBER}")
    return (role,)


def is_owner(user: User) -> bool:
    """Say whether a user may do everything."""
    return OWNER in user.roles


def may_manage_users(user: User) -> bool:
    """Say whether a user may make, suspend, activate and delete others."""
    return bool({OWNER, USER_ADMIN} & set(user.roles))


def may_manage(user: User, other: User) -> bool:
    """Say whether a user may suspend, activate, delete or give a password to another.

    A user administrator can't touch those who may do more than they may: they would become them.
    """
    return is_owner(user) or (USER_ADMIN in user.roles and not is_owner(other))


def may_use_tokens_of(user: User, other: User) -> bool:
    """Say whether a user may see, make and end another's tokens.

    Everybody may their own, an owner everybody's, and a user administrator those of service
    accounts (``coder-contract.md`` section 6) that have no role: their own token would else become
    an owner's.
    """
    if user.id == other.id or is_owner(user):
        return True
    return USER_ADMIN in user.roles and other.is_service_account and not other.roles


def may_see(user: User, other: User) -> bool:
    """Say whether a user may know of another; others are "not found" to them."""
    return user.id == other.id or may_manage_users(user)


def may_give(user: User, roles: Collection[str]) -> bool:
    """Say whether a user may give somebody these roles: only an owner may give any."""
    return is_owner(user) or not roles


def longest_lifetime(owner: User) -> timedelta:
    """Return how long a token may live: that follows its owner (``coder-contract.md`` 1.5)."""
    return lifetimes.ADMIN_MAXIMUM if is_owner(owner) else lifetimes.MAXIMUM
