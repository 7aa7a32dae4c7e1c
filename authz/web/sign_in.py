"""Signing in, for the API and the page: by password or by token, limited, and written down."""

import asyncio
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from authz import lifetimes
from authz.core.rules import NO_RULES
from authz.core.tokens import parse
from authz.errors import AuthzError
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Actor
from authz.identity.names import check_email, check_user_name
from authz.identity.passwords import proves_password
from authz.identity.store import OwnerChanged, Store
from authz.identity.store_sessions import AuthenticationFailed
from authz.secret import Secret
from authz.web.sign_in_limits import Limit

INCORRECT = "Incorrect email or password."
"""Coder's one text: it does not say which of the two."""
SUSPENDED = "Your account is suspended. Please contact an administrator."
NO_SIGN_IN = "A service account has no sign-in."
BAD_TOKEN = "The Coder token is not valid."  # noqa: S105 - a text, no secret
LIMITED_TOKEN = "This token is limited and can't be used to sign in or to make others."  # noqa: S105

PER_USER, PER_PEER = 10, 30
"""Tries in a minute."""
_WAITING_MAX = 16


class SignInRefused(AuthzError):  # noqa: N818 - named for what it says
    """The sign-in is refused; the text may be shown."""


class TooManySignIns(AuthzError):  # noqa: N818
    """Somebody tries too often.

    Attributes:
        seconds: until the next try.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__("too many sign-ins")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session.

    Attributes:
        text: the token of the session, for the cookie or the client, and for nothing else.
    """

    text: Secret
    key: ApiKey
    user: User


class SignIn:
    """Makes sessions; one for each process, so that its limits count.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = Limit(PER_USER, 60, clock=clock)
        self._peers = Limit(PER_PEER, 60, clock=clock)
        # One at a time: the other processor goes on with checks.
        self._hashing = asyncio.Lock()
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
        """Sign a user in who knows their password.

        Args:
            store: who acts in it does not matter.
            name: an e-mail address or user name.
            password: what was given.
            peer: where the request comes from.
            instead_of: the id of the session that the caller had, which ends.
            lifetime: of the session, unless it is used.

        Raises:
            SignInRefused: name or password is wrong, which of them is not said, and takes as long.
            TooManySignIns: for this name or peer, or at once.
            StoreError: the store can't be asked.
        """
        self._take(self._peers, _network(peer))
        self._take(self._users, name.casefold()[:254])
        nobody = store.acting(Actor("nobody", ip=peer))
        user = await _find(store, name)
        hashed = await store.password_hash(user)
        if not await self._proves(password, hashed) or user is None or hashed is None:
            why = "unknown user" if user is None else "no password" if not hashed else "password"
            await nobody.note_failed_sign_in(user, why)
            raise SignInRefused(INCORRECT)
        if user.is_service_account or user.status == "suspended":
            await nobody.note_failed_sign_in(user, user.status)
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
        """Sign a user in who has one of their tokens; arguments and errors as ``by_password``."""
        self._take(self._peers, _network(peer))
        nobody = store.acting(Actor("nobody", ip=peer))
        token = parse(text.reveal())
        proven = await store.authenticate(token) if token else None
        if proven is None or isinstance(proven, AuthenticationFailed):
            await nobody.note_failed_sign_in(None, "token")
            raise SignInRefused(BAD_TOKEN)
        if proven.user.is_service_account or is_limited(proven.key):
            await nobody.note_failed_sign_in(proven.user, "limited token")
            raise SignInRefused(NO_SIGN_IN if proven.user.is_service_account else LIMITED_TOKEN)
        return await _session(store, proven.user, peer, lifetime, instead_of=instead_of)

    async def _proves(self, password: Secret, hashed: bytes | None) -> bool:
        if self._waiting >= _WAITING_MAX:
            raise TooManySignIns(1)
        self._waiting += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(proves_password, password, hashed)
        finally:
            self._waiting -= 1

    def _take(self, limit: Limit, key: str) -> None:
        seconds = limit.take(key)
        if seconds is not None:
            raise TooManySignIns(seconds)


def is_limited(key: ApiKey) -> bool:
    """Say whether a key may do less than its owner, so that nothing wider may come of it."""
    everything = set(key.scopes) & {"coder:all", "all"} and "*:*" in key.allow_list
    return key.rules != NO_RULES or not everything


def _network(peer: str) -> str:
    """Return whose tries are counted together: an address, of IPv6 the /64 that one host gets."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return peer
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))


async def _find(store: Store, name: str) -> User | None:
    # A name that no user can have is looked for too, as the empty one: it takes as long.
    if "@" in name:
        return await store.find_user_by_email(" " if check_email(name) else name)
    return await store.find_user("" if check_user_name(name) else name)


async def _session(
    store: Store,
    user: User,
    peer: str,
    lifetime: timedelta,
    *,
    proven_by: bytes | None = None,
    instead_of: str | None = None,
) -> SignedIn:
    acting = store.acting(Actor("user", user.username, user.id, None, peer))
    try:
        if user.status == "dormant":
            user = await acting.wake(user)
        text, key = await acting.create_session(
            user, lifetime, proven_by=proven_by, instead_of=instead_of
        )
    except OwnerChanged:
        raise SignInRefused(INCORRECT) from None
    return SignedIn(Secret(text), key, user)
