"""The first start without a database: make one, with a user and a token."""

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
    """What the person who starts the pair for the first time needs."""

    username: str
    token: Secret


def make_identity(identity: str) -> None:
    """Make the embedded store with its first user, if there is no store yet.

    Args:
        identity: the ``identity`` URL. Of a source that is not ours to make it is only said whether
            it can be used at all; whether it answers is for readiness to say.

    Raises:
        ConfigError: no source of that kind can be used.
        StoreError: the store can't be made, or the file that is there is no store of ours.
    """
    asyncio.run(_prepare(identity))


def make_first_token(identity: str) -> FirstToken | None:
    """Make a token in a store that has the first user and no token yet.

    It is made when it can be shown, not with the store: a start that fails in between would
    otherwise lose it.

    Raises:
        StoreError: the store can't be used.
    """
    if not isinstance(parse_identity_url(identity), SQLiteURL):
        return None
    return asyncio.run(_make_token(identity))


def find_user(identity: str) -> str | None:
    """Return a user of the embedded store to name in an example: the first one made, else any.

    Raises:
        StoreError: the store can't be used.
    """
    if not isinstance(parse_identity_url(identity), SQLiteURL):
        return None
    return asyncio.run(_find_user(identity))


def make_first_code(config: Config) -> Secret | None:
    """Make the code of the one-time link while nobody can sign in who may give others a password.

    Returns:
        None where it isn't needed: there is such a user, or users are Coder's.

    Raises:
        OSError: the state folder can't be written to.
    """
    if not asyncio.run(_nobody_can_sign_in(config.identity)):
        first_link.forget(config)
        return None
    return first_link.make_code(config)


async def _nobody_can_sign_in(identity: str) -> bool:
    if coder_base(identity) is not None:
        return False
    try:
        store = await open_store(identity, create=False)
    except StoreError:
        # Coder's own database, or none that may be read.
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
