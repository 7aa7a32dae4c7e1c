"""Sign users in by password or token, for the API and the pages, with limits and an audit log."""

import asyncio
import ipaddress
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from authz import lifetimes
from authz.core.rules import NO_RULES
from authz.core.tokens import parse
from authz.errors import AuthzError
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Actor
from authz.identity.names import check_email, check_user_name
from authz.identity.passwords import check_password, proves_password
from authz.identity.store import Store
from authz.identity.store_keys import OwnerChanged
from authz.identity.store_sessions import Authenticated, AuthenticationFailed
from authz.secret import Secret
from authz.web.sign_in_limits import Limit

INCORRECT = "Incorrect email or password."
"""Coder's text for both errors. It does not reveal which one occurred."""
SUSPENDED = "Your account is suspended. Please contact an administrator."
NO_SIGN_IN = "A service account can't sign in. Use its token instead."
PASSWORDS_OFF = "Passwords are switched off. Sign in with your identity provider."
NO_PASSWORD = "You have no password. Ask an administrator to set one."  # noqa: S105 - a message
WRONG_PASSWORD = "The current password is wrong."  # noqa: S105 - a message
BAD_TOKEN = "The Coder token is not valid."  # noqa: S105 - a message
LIMITED_TOKEN = "This token is limited. It can't sign in or create other tokens."  # noqa: S105

PER_USER, PER_PEER = 10, 30
"""Attempts in a minute."""
_WAITING_MAX = 16
_NICENESS = 5
"""Leaves a quarter of a busy processor: a flood of sign-ins must not keep people out for long."""


class SignInRefused(AuthzError):  # noqa: N818 - the name is the reason
    """The sign-in is refused. The message may be shown to the user."""


class PasswordRefused(AuthzError):  # noqa: N818
    """The password is not changed. The message may be shown to the user.

    Attributes:
        field: the field of the form that is wrong, ``old_password`` or ``password``.
    """

    def __init__(self, text: str, field: str) -> None:
        super().__init__(text)
        self.field = field


class TooManySignIns(AuthzError):  # noqa: N818
    """There are too many attempts to sign in.

    Attributes:
        seconds: seconds until the next attempt.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__("too many sign-ins")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session.

    Attributes:
        text: the token of the session. It may only go into the cookie or to the client.
    """

    text: Secret
    key: ApiKey
    user: User


class SignIn:
    """Creates sessions. A process has one instance, which counts attempts for all callers.

    Args:
        clock: returns monotonic seconds.
        passwords: whether people may sign in with a password.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, passwords: bool = True
    ) -> None:
        self._passwords = passwords
        self._users = Limit(PER_USER, 60, clock=clock)
        self._peers = Limit(PER_PEER, 60, clock=clock)
        # One hash at a time, so that the other processors are free for checks.
        self._hashing = asyncio.Lock()
        self._hasher = ThreadPoolExecutor(1, "passwords", initializer=_yield_to_checks)
        self._waiting = 0

    async def by_password(
        self,
        store: Store,
        name: str,
        password: Secret,
        peer: str,
        *,
        instead_of: str | None = None,
        lifetime: timedelta = lifetimes.BROWSER_SESSION,
    ) -> SignedIn:
        """Sign in a user by password.

        Args:
            store: the identity store, with any actor.
            name: an e-mail address or user name.
            password: the password from the request.
            peer: the address of the client.
            instead_of: the id of the caller's current session, which ends.
            lifetime: lifetime of the session, which use extends.

        Raises:
            SignInRefused: the name or password is wrong, or passwords are switched off. The message
                and the time it takes do not reveal which one is wrong.
            TooManySignIns: there are too many attempts for this name or peer, or at once.
            StoreError: the store can't be read.
        """
        if not self._passwords:
            raise SignInRefused(PASSWORDS_OFF)
        self._take(self._peers, network(peer))
        self._take(self._users, name.casefold()[:254])
        anonymous = store.acting(Actor("nobody", ip=peer))
        user = await _find(store, name)
        hashed = await store.password_hash(user)
        if not await self._proves(password, hashed) or user is None or hashed is None:
            why = "unknown user" if user is None else "no password" if not hashed else "password"
            await anonymous.note_failed_sign_in(user, why)
            raise SignInRefused(INCORRECT)
        if user.is_service_account or user.status == "suspended":
            await anonymous.note_failed_sign_in(user, user.status)
            raise SignInRefused(NO_SIGN_IN if user.is_service_account else SUSPENDED)
        self._users.give_back(name.casefold()[:254])
        return await _session(store, user, peer, lifetime, proven_by=hashed, instead_of=instead_of)

    async def by_token(
        self,
        store: Store,
        text: Secret,
        peer: str,
        *,
        instead_of: str | None = None,
        lifetime: timedelta = lifetimes.BROWSER_SESSION,
    ) -> SignedIn:
        """Sign in a user by one of their tokens; arguments and errors as ``by_password``."""
        self._take(self._peers, network(peer))
        anonymous = store.acting(Actor("nobody", ip=peer))
        token = parse(text.reveal())
        result = await store.authenticate(token) if token else None
        if result is None or isinstance(result, AuthenticationFailed):
            await anonymous.note_failed_sign_in(None, "token")
            raise SignInRefused(BAD_TOKEN)
        if result.user.is_service_account or is_limited(result.key):
            await anonymous.note_failed_sign_in(result.user, "limited token")
            raise SignInRefused(NO_SIGN_IN if result.user.is_service_account else LIMITED_TOKEN)
        return await _session(store, result.user, peer, lifetime, instead_of=instead_of)

    async def change_password(
        self,
        store: Store,
        caller: Authenticated,
        old: Secret,
        new: Secret,
        peer: str,
    ) -> None:
        """Change the password of the caller. Their other sessions end, and their tokens stay.

        The old password is asked for, so that a session that somebody else got hold of is not
        enough to take over the account. It counts as an attempt to sign in.

        Args:
            store: the identity store, with the caller as its actor.
            caller: the user and the session or token of the call.
            old: the current password.
            new: the new password.
            peer: the address of the client.

        Raises:
            PasswordRefused: the old password is wrong or the new one is bad, or the user does not
                sign in with a password.
            TooManySignIns: there are too many attempts for this user or peer, or at once.
            StoreError: the store can't be used.
        """
        if not self._passwords:
            raise PasswordRefused(PASSWORDS_OFF, "old_password")
        user = caller.user
        self._take(self._peers, network(peer))
        self._take(self._users, user.username.casefold())
        hashed = await store.password_hash(user)
        if not hashed:
            raise PasswordRefused(NO_PASSWORD, "old_password")
        if not await self._proves(old, hashed):
            await store.note_failed_sign_in(user, "password")
            raise PasswordRefused(WRONG_PASSWORD, "old_password")
        self._users.give_back(user.username.casefold())
        if problem := check_password(new, user.username):
            raise PasswordRefused(problem, "password")
        if old == new:
            raise PasswordRefused("the new password is the current one", "password")
        keep = None if caller.key.login_type == "token" else caller.key
        await store.set_password(user, new, proven_by=hashed, keep=keep)

    def take_attempt(self, peer: str) -> None:
        """Count an attempt to sign in.

        Raises:
            TooManySignIns: there are too many from this address.
        """
        self._take(self._peers, network(peer))

    async def by_provider(
        self, store: Store, user: User, peer: str, *, instead_of: str | None = None
    ) -> SignedIn:
        """Sign in a user whom an OpenID provider proved.

        Raises:
            SignInRefused: the user was suspended or deleted meanwhile.
            StoreError: the store can't be used.
        """
        lifetime = lifetimes.BROWSER_SESSION
        return await _session(store, user, peer, lifetime, login_type="oidc", instead_of=instead_of)

    async def _proves(self, password: Secret, hashed: bytes | None) -> bool:
        if self._waiting >= _WAITING_MAX:
            raise TooManySignIns(1)
        self._waiting += 1
        try:
            async with self._hashing:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._hasher, proves_password, password, hashed)
        finally:
            self._waiting -= 1

    def _take(self, limit: Limit, key: str) -> None:
        seconds = limit.take(key)
        if seconds is not None:
            raise TooManySignIns(seconds)


def _yield_to_checks() -> None:
    """Lower the priority of this thread, since a hash uses several processors and needs no token.

    The threads that it starts inherit the priority. On other systems than Linux it would be that of
    the whole process.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def is_limited(key: ApiKey) -> bool:
    """Return whether a key may do less than its owner, so it must not create wider ones."""
    everything = set(key.scopes) & {"coder:all", "all"} and "*:*" in key.allow_list
    return key.rules != NO_RULES or not everything


def network(peer: str) -> str:
    """Return the key that counts attempts: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))


async def _find(store: Store, name: str) -> User | None:
    # An invalid name is looked up too, as an empty one, so that it takes as long as a valid one.
    if "@" in name:
        return await store.find_user_by_email(" " if check_email(name) else name)
    return await store.find_user("" if check_user_name(name) else name)


async def _session(
    store: Store,
    user: User,
    peer: str,
    lifetime: timedelta,
    *,
    login_type: str = "password",
    proven_by: bytes | None = None,
    instead_of: str | None = None,
) -> SignedIn:
    acting = store.acting(Actor("user", user.username, user.id, None, peer))
    try:
        if user.status == "dormant":
            user = await acting.wake(user)
        text, key = await acting.create_session(
            user, lifetime, login_type=login_type, proven_by=proven_by, instead_of=instead_of
        )
    except OwnerChanged:
        raise SignInRefused(SUSPENDED if login_type == "oidc" else INCORRECT) from None
    return SignedIn(Secret(text), key, user)
