"""Prepare the first start: create the database, the first user, a token and a one-time link."""

import asyncio
from dataclasses import dataclass

from authz import lifetimes
from authz.config.settings import Config
from authz.database.url import SQLiteURL, parse_identity_url
from authz.errors import StoreError
from authz.identity.open import coder_base, open_source, open_store
from authz.secret import Secret
from authz.web import first_link

FIRST_USER = "admin"


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The token of the first user."""

    username: str
    token: Secret


def make_identity(identity: str) -> None:
    """Create the embedded store with its first user, unless it exists.

    Args:
        identity: the ``identity`` URL. For other sources this only checks that the source can be
            used; the readiness check finds out whether it responds.

    Raises:
        ConfigError: this installation can't use a source of that kind.
        StoreError: the store can't be created, or the file is not an authz store.
    """
    asyncio.run(_prepare(identity))


def make_first_token(identity: str) -> FirstToken | None:
    """Create a token in a store that has only the first user, and no token.

    The token is created when it can be shown. If it were created with the store, a start that
    fails in between would lose it.

    Raises:
        StoreError: the store can't be used.
    """
    if not isinstance(parse_identity_url(identity), SQLiteURL):
        return None
    return asyncio.run(_make_token(identity))


def find_user(identity: str) -> str | None:
    """Return a user of the embedded store for an example: the first user, else any.

    Raises:
        StoreError: the store can't be used.
    """
    if not isinstance(parse_identity_url(identity), SQLiteURL):
        return None
    return asyncio.run(_find_user(identity))


def make_first_code(config: Config) -> Secret | None:
    """Create the code of the one-time link, unless an owner can sign in.

    Returns:
        None if an owner can sign in, if passwords are switched off, or if Coder manages the users.

    Raises:
        OSError: the state folder can't be written to.
    """
    # The link sets a password, which is useless where passwords are off.
    passwords = config.sign_in.passwords
    if not passwords or not asyncio.run(_needs_first_owner(config.identity)):
        first_link.forget(config)
        return None
    return first_link.make_code(config)


async def _needs_first_owner(identity: str) -> bool:
    if coder_base(identity) is not None:
        return False
    try:
        store = await open_store(identity, create=False)
    except StoreError:
        # Coder's own database, or a database that can't be read.
        return False
    try:
        return first_link.is_needed(await store.list_users())
    except StoreError:
        return False
    finally:
        await store.close()


async def _prepare(identity: str) -> None:
    url = parse_identity_url(identity)
    if not isinstance(url, SQLiteURL):
        await (await open_source(identity)).close()
        return
    is_new = not url.path.exists()
    store = await open_store(identity, create=is_new)
    try:
        if is_new:
            await store.create_user(FIRST_USER)
    finally:
        await store.close()


async def _find_user(identity: str) -> str | None:
    store = await open_store(identity, create=False)
    try:
        active = [user for user in await store.list_users() if user.status == "active"]
        active.sort(key=lambda user: (user.username != FIRST_USER, user.is_service_account))
        return active[0].username if active else None
    finally:
        await store.close()


async def _make_token(identity: str) -> FirstToken | None:
    store = await open_store(identity, create=False)
    try:
        users = await store.list_users()
        if [user.username for user in users] != [FIRST_USER]:
            return None
        if await store.list_tokens(include_expired=True):
            return None
        token, _ = await store.create_token(users[0], "first-start", lifetimes.DEFAULT)
        return FirstToken(FIRST_USER, Secret(token))
    finally:
        await store.close()
