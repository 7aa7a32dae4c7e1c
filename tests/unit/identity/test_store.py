"""authz.identity.store, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authz import lifetimes
from authz.core.identity import Identity, IdentitySource, Rejection
from authz.core.tokens import CoderToken, generate, parse
from authz.errors import StoreError
from authz.identity.accounts import ApiKey, User
from authz.identity.audit import Actor
from authz.identity.open import open_source, open_store
from authz.identity.store import Store
from authz.secret import Secret
from tests.support.postgres import PostgresServer

_SOON = timedelta(microseconds=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def identity(request: pytest.FixtureRequest, path: Path) -> str:
    """The URL of a store."""
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(request.getfixturevalue("own"))


@pytest.fixture
async def store(identity: str) -> AsyncIterator[Store]:
    """An empty store."""
    opened = await open_store(identity, create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def source(identity: str) -> AsyncIterator[IdentitySource]:
    """The source on the same tables."""
    opened = await open_source(identity)
    yield opened
    await opened.close()


@pytest.fixture
async def alice(store: Store) -> User:
    """A user."""
    return await store.create_user("alice", "alice@example.com")


def _parsed(text: str) -> CoderToken:
    token = parse(text)
    assert token is not None
    return token


async def test_a_new_user_is_active(store: Store) -> None:
    """A user can use the gateway at once, a service account too."""
    bot = await store.create_user("bot", service_account=True)
    assert (bot.status, bot.is_service_account, bot.login_type, bot.email) == (
        "active",
        True,
        "none",
        "",
    )
    assert datetime.now(UTC) - bot.created_at < timedelta(seconds=5)
    assert await store.find_user("BOT") == bot


async def test_names_and_addresses_are_unique(store: Store, alice: User) -> None:
    """A taken name or address is refused regardless of case, and the error says what to do."""
    with pytest.raises(StoreError, match="named ALICE exists already: choose another"):
        await store.create_user("ALICE")
    with pytest.raises(StoreError, match="e-mail address"):
        await store.create_user("bob", "ALICE@example.com")
    await store.create_user("carol")
    await store.create_user("dave")
    assert [user.username for user in await store.list_users()] == ["alice", "carol", "dave"]


@pytest.mark.parametrize(("name", "email"), [("a b", None), ("", None), ("bob", "no address")])
async def test_bad_names_are_refused(store: Store, name: str, email: str | None) -> None:
    """A name or address outside the rule makes no user."""
    with pytest.raises(StoreError):
        await store.create_user(name, email)
    assert await store.list_users() == []


async def test_an_unknown_user(store: Store) -> None:
    """An unknown name is quoted only if it can't be a token."""
    with pytest.raises(StoreError, match="no user named bob: 'authz users list'"):
        await store.get_user("bob")
    text, _ = generate()
    with pytest.raises(StoreError, match="no user of that name") as caught:
        await store.get_user(text)
    assert text not in str(caught.value)


async def test_deleting_a_user(store: Store, alice: User) -> None:
    """Deleting a user removes all their keys, counts the valid ones, and frees the name."""
    await store.create_token(alice)
    await store.create_session(alice)
    await store.create_token(alice, "old", _SOON)
    assert await store.delete_user(alice) == 2
    assert await store.list_tokens(include_expired=True) == []
    assert await store.find_user("alice") is None
    again = await store.create_user("alice", "alice@example.com")
    assert again.id != alice.id
    with pytest.raises(StoreError, match="was deleted"):
        await store.create_token(alice)
    with pytest.raises(StoreError, match="deleted"):
        await store.set_status(alice, "active")


async def test_a_token_has_coders_record(store: Store, alice: User) -> None:
    """The record is Coder's key object, and neither text nor record holds more than it should."""
    text, key = await store.create_token(alice, "laptop", timedelta(hours=8))
    assert key.expires_at - key.created_at == timedelta(hours=8)
    assert key.as_json() == {
        "id": text[:10],
        "user_id": alice.id,
        "last_used": "1970-01-01T00:00:00Z",
        "expires_at": key.expires_at.isoformat().replace("+00:00", "Z"),
        "created_at": key.created_at.isoformat().replace("+00:00", "Z"),
        "updated_at": key.updated_at.isoformat().replace("+00:00", "Z"),
        "login_type": "token",
        "scope": "all",
        "scopes": ["coder:all"],
        "token_name": "laptop",
        "lifetime_seconds": 8 * 3600,
        "allow_list": ["*:*"],
        "rules": {},
    }
    assert text[11:] not in repr(key)


async def test_token_names(store: Store, alice: User) -> None:
    """A token name is unique per user, even among expired tokens, and is invented if omitted."""
    bob = await store.create_user("bob")
    await store.create_token(alice, "laptop", _SOON)
    await store.create_token(bob, "laptop")
    with pytest.raises(StoreError, match='A token with name "laptop" already exists'):
        await store.create_token(alice, "laptop")
    with pytest.raises(StoreError, match="printable"):
        await store.create_token(alice, "")
    names = {(await store.create_token(alice))[1].token_name for _ in range(10)}
    assert len(names) == 10


async def test_names_run_out(store: Store, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error asks for a name if every invented name is taken."""
    monkeypatch.setattr("authz.identity.store.invent_token_name", lambda: "same-name")
    await store.create_token(alice)
    with pytest.raises(StoreError, match="--name"):
        await store.create_token(alice)


@pytest.mark.parametrize("lifetime", [timedelta(0), -_SOON, lifetimes.MAXIMUM + _SOON])
async def test_lifetimes_have_bounds(store: Store, alice: User, lifetime: timedelta) -> None:
    """A token whose lifetime is not positive, or too long, is not created."""
    with pytest.raises(StoreError, match="lifetime"):
        await store.create_token(alice, "x", lifetime)
    assert (await store.create_token(alice, "y", lifetimes.MAXIMUM))[1].expires_at.year > 2100


async def test_only_active_users_get_tokens(store: Store, alice: User) -> None:
    """A suspended user gets no token, and the error says how to activate them."""
    await store.set_status(alice, "suspended")
    with pytest.raises(StoreError, match="suspended: 'authz users activate alice'"):
        await store.create_token(alice)


async def test_listing_tokens(store: Store, alice: User) -> None:
    """Lists contain the tokens of one or all users, no sessions, and expired ones on request."""
    bob = await store.create_user("bob")
    _, first = await store.create_token(alice, "first")
    _, second = await store.create_token(bob, "second")
    _, expired = await store.create_token(alice, "expired", _SOON)
    await store.create_session(alice)
    assert await store.list_tokens() == [first, second]
    assert await store.list_tokens(alice) == [first]
    assert await store.list_tokens(alice, include_expired=True) == [first, expired]


async def test_finding_tokens(store: Store, alice: User) -> None:
    """A token is found by its name, its id or its whole text, and a session by its id."""
    text, key = await store.create_token(alice, "laptop")
    _, session = await store.create_session(alice)
    for reference in ("laptop", key.id, text):
        assert await store.find_token(reference) == key
        assert await store.find_token(reference, alice) == key
    assert await store.find_token(session.id) == session
    assert await store.find_token("") is None
    assert await store.find_token(generate()[0]) is None


async def test_a_name_comes_before_an_id(store: Store, alice: User) -> None:
    """A token that is named like another's id is found by that name, as in Coder."""
    _, first = await store.create_token(alice, "first")
    _, second = await store.create_token(alice, first.id)
    assert await store.find_token(first.id) == second


async def test_a_name_that_several_users_have(store: Store, alice: User) -> None:
    """An ambiguous name needs a user; another user's token is not found under that user."""
    bob = await store.create_user("bob")
    _, key = await store.create_token(alice, "laptop")
    await store.create_token(bob, "laptop")
    with pytest.raises(StoreError, match="--user"):
        await store.find_token("laptop")
    assert await store.find_token("laptop", alice) == key
    assert await store.find_token(key.id, bob) is None


async def test_expiring_a_token(store: Store, alice: User, source: IdentitySource) -> None:
    """An expired token is refused and keeps its record; expiring again changes nothing."""
    text, key = await store.create_token(alice, "laptop")
    await store.expire_token(key)
    assert await source.verify(_parsed(text)) is Rejection.EXPIRED
    expired = await store.find_token("laptop")
    assert expired is not None
    await store.expire_token(key)
    assert await store.find_token("laptop") == expired


async def test_deleting_a_token(store: Store, alice: User, source: IdentitySource) -> None:
    """A deleted token is unknown, and its name is free."""
    text, key = await store.create_token(alice, "laptop")
    await store.delete_token(key)
    assert await source.verify(_parsed(text)) is Rejection.UNKNOWN
    await store.create_token(alice, "laptop")


async def test_sessions(store: Store, alice: User, source: IdentitySource) -> None:
    """A session is a key without a name that lasts as long as Coder's."""
    text, key = await store.create_session(alice)
    assert (key.token_name, key.login_type) == ("", "password")
    assert key.expires_at - key.created_at == lifetimes.SESSION
    assert isinstance(await source.verify(_parsed(text)), Identity)


async def test_whose_token(store: Store, alice: User) -> None:
    """A token proves its owner only with its secret and while it is valid."""
    text, key = await store.create_token(alice)
    assert await store.owner_of(_parsed(text)) == alice
    assert await store.owner_of(CoderToken(key.id, generate()[1].digest)) is None
    assert await store.owner_of(generate()[1]) is None
    await store.set_status(alice, "suspended")
    assert await store.owner_of(_parsed(text)) is None


async def _age(store: Store, key: ApiKey, days: int) -> None:
    """Set a key's expiry to that many days ago."""
    await store._database.execute(
        "UPDATE api_keys SET expires_at = $1 WHERE id = $2",
        datetime.now(UTC) - timedelta(days=days),
        key.id,
    )


async def test_keys_that_expired_long_ago_are_purged(
    store: Store, source: IdentitySource, identity: str, alice: User
) -> None:
    """Creating a key removes keys and sessions that expired over a week ago; a check does not."""
    text, old = await store.create_token(alice, "laptop")
    _, session = await store.create_session(alice)
    _, recent = await store.create_token(alice, "recent")
    for key, days in ((old, 8), (session, 8), (recent, 6)):
        await _age(store, key, days)
    assert await source.verify(_parsed(text)) is Rejection.EXPIRED
    _, valid = await store.create_token(alice, "valid")
    # Not at once again: it takes a look at every record.
    assert await store.find_token(old.id) is not None
    later = await open_store(identity, create=False)
    # The name is free again.
    _, new = await later.create_token(alice, "laptop")
    await later.close()
    listed = {key.id for key in await store.list_tokens(include_expired=True)}
    assert listed == {recent.id, valid.id, new.id}
    assert await store.find_token(session.id) is None
    assert await source.verify(_parsed(text)) is Rejection.UNKNOWN


async def test_a_purge_that_is_refused(store: Store, identity: str, alice: User) -> None:
    """A token is created even if removing old ones is forbidden or fails."""
    refuse = (
        "CREATE TRIGGER keep BEFORE DELETE ON api_keys BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE RULE keep AS ON DELETE TO api_keys DO ALSO SELECT 1 / 0",
    )[identity.startswith("postgresql")]
    _, old = await store.create_token(alice)
    await _age(store, old, 8)
    await store._database.execute(refuse)
    try:
        later = await open_store(identity, create=False)
        await later.create_token(alice)
        await later.close()
        assert await store.find_token(old.id) is not None
    finally:
        # Other tests have the database after this one.
        await store._database.execute(
            "DROP RULE keep ON api_keys"
            if identity.startswith("postgresql")
            else "DROP TRIGGER keep"
        )


async def _acting(store: Store, user: User) -> Store:
    """Return the store as it acts for a session of a user."""
    _, key = await store.create_session(user)
    return store.acting(Actor("user", user.username, user.id, key.id), user.roles)


async def test_of_two_owners_who_remove_each_other_one_remains(store: Store) -> None:
    """Only one of two owners can remove the other, and none themselves, so an owner remains."""
    for number, change in enumerate(("demote", "suspend", "delete")):
        one = await store.create_user(f"one{number}", role="owner")
        two = await store.create_user(f"two{number}", role="owner")
        acting = [(await _acting(store, one), two), (await _acting(store, two), one)]

        async def removed(by: Store, whom: User, change: str = change) -> None:
            if change == "demote":
                await by.set_role(whom, "member")
            elif change == "suspend":
                await by.set_status(whom, "suspended")
            else:
                await by.delete_user(whom)

        done = await asyncio.gather(
            *(removed(by, whom) for by, whom in acting), return_exceptions=True
        )
        assert sum(isinstance(one, StoreError) for one in done) == 1, done
        left = [await store.find_user_by_id(user.id) for user in (one, two)]
        assert (
            sum(
                user is not None and user.status == "active" and user.roles == ("owner",)
                for user in left
            )
            == 1
        )


async def test_whoever_was_promoted_meanwhile_is_left_alone(store: Store, alice: User) -> None:
    """A user administrator can't change a member who was made an owner meanwhile."""
    helper = await _acting(store, await store.create_user("helper", role="user-admin"))
    await store.set_role(alice, "owner")
    for change in (
        helper.set_password(alice, Secret("correct horse battery")),
        helper.set_status(alice, "suspended"),
        helper.delete_user(alice),
        helper.create_token(alice),
    ):
        with pytest.raises(StoreError, match="the role of alice was changed meanwhile"):
            await change
    assert await store.list_tokens(alice) == []


async def test_lists_in_parts(store: Store, alice: User) -> None:
    """Parts list the tokens of one user, the newest first, and users by name."""
    bob = await store.create_user("Bob")
    await store.create_token(bob, "other")
    for name in ("one", "two", "three"):
        await store.create_token(alice, name)
    parts = [await store.newest_tokens(alice, first, 2) for first in (0, 2, 4)]
    assert [[key.token_name for key in part] for part in parts] == [["three", "two"], ["one"], []]
    assert await store.some_users(0, 1) == [alice]
    assert await store.some_users(1, 5) == [bob]
