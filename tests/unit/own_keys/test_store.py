"""authz.own_keys: the table, the source that reads it with a token, and rotation."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from authz.config.key_reference import KeyReference
from authz.config.settings import Config
from authz.core.decision_types import Unreadable
from authz.core.identity import Identity, IdentitySource
from authz.core.tokens import parse
from authz.errors import ConfigError, IdentityUnavailable, StoreError
from authz.identity import audit
from authz.identity.accounts import User
from authz.identity.open import open_database, open_source, open_store
from authz.identity.store import Store
from authz.own_keys.envelope import BadEnvelope
from authz.own_keys.keyring import Keyring
from authz.own_keys.providers import check_provider
from authz.own_keys.schema import prepare
from authz.own_keys.store import KeyRefused, OwnKeyStore, check_own_key
from authz.secret import Secret
from tests.support.postgres import PostgresServer
from tests.support.postgres_tables import GRANTS

FIRST, SECOND = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
KEY = Secret("sk-ant-own-5d1e0f3a9b7c")


def ring(*texts: str) -> Keyring:
    """Return a ring of these master keys."""
    environ = {f"KEY_{number}": text for number, text in enumerate(texts)}
    return Keyring([KeyReference(env=name) for name in environ], environ)


@pytest.fixture
async def keys(any_store: Store) -> OwnKeyStore:
    """The stored keys of an empty store."""
    made = any_store.part(OwnKeyStore)
    await made.prepare()
    return made


@pytest.fixture
async def reading(any_store: Store, store_url: str) -> AsyncIterator[IdentitySource]:
    """A source that reads stored keys, as another process would have it."""
    source = await open_source(store_url, own_keys=True)
    yield source
    await source.close()


async def _user(store: Store, name: str = "alice") -> tuple[User, str]:
    user = await store.create_user(name)
    return user, (await store.create_token(user))[0]


async def _identity(source: IdentitySource, text: str) -> Identity:
    token = parse(text)
    assert token is not None
    found = await source.verify(token)
    assert isinstance(found, Identity), found
    return found


@pytest.mark.usefixtures("patient")
async def test_the_next_look_up_has_each_change(
    any_store: Store, keys: OwnKeyStore, reading: IdentitySource, store_url: str
) -> None:
    """A stored, replaced or deleted key counts for the next look-up of another process."""
    alice, token = await _user(any_store)
    _, other = await _user(any_store, "bob")
    master = ring(FIRST)
    assert (await _identity(reading, token)).own_keys == ()
    _, is_new = await keys.set_key(alice, "anthropic", KEY, master.newest)
    assert is_new
    identity = await _identity(reading, token)
    assert master.stored_key(identity, "anthropic") == KEY
    assert master.stored_key(identity, "openai") is None
    assert "v1." not in repr(identity)
    for text in ("sk-ant-own-second-one-0123", "sk-ant-own-third-one-0123"):
        shown, is_new = await keys.set_key(alice, "anthropic", Secret(text), master.newest)
        assert (shown.hint, is_new) == ("...0123", False)
        again = master.stored_key(await _identity(reading, token), "anthropic")
        assert isinstance(again, Secret)
        assert again.reveal() == text
    assert (await _identity(reading, other)).own_keys == ()
    plain = await open_source(store_url)
    assert (await _identity(plain, token)).own_keys == ()
    await plain.close()
    assert await keys.remove_key(alice, "anthropic")
    assert (await _identity(reading, token)).own_keys == ()
    assert not await keys.remove_key(alice, "anthropic")


@pytest.mark.parametrize("how", ["delete_user", "by another program", "row"])
async def test_keys_go_with_their_user(any_store: Store, keys: OwnKeyStore, how: str) -> None:
    """Deleting a user deletes their keys, in whatever way a program deletes users."""
    alice, _ = await _user(any_store)
    bob, _ = await _user(any_store, "bob")
    for user in (alice, bob):
        await keys.set_key(user, "anthropic", KEY, ring(FIRST).newest)
    if how == "delete_user":
        await any_store.delete_user(alice)
    elif how == "row":
        await any_store._database.execute("DELETE FROM users WHERE id = $1", alice.id)
    else:
        await any_store._database.execute("UPDATE users SET deleted = true WHERE id = $1", alice.id)
    rows = await any_store._database.fetch("SELECT user_id FROM own_keys")
    assert [str(row["user_id"]) for row in rows] == [bob.id]
    if how == "delete_user":
        with pytest.raises(StoreError, match="deleted meanwhile"):
            await keys.set_key(alice, "anthropic", KEY, ring(FIRST).newest)


async def test_what_is_stored(any_store: Store, keys: OwnKeyStore) -> None:
    """The list and the audit log show who changed what, and nothing holds the key."""
    alice, _ = await _user(any_store)
    since = datetime.now(UTC) - timedelta(hours=1)
    await keys.set_key(alice, "openai", Secret("short-key"), ring(FIRST).newest)
    await keys.set_key(alice, "anthropic", KEY, ring(FIRST).newest)
    await keys.set_key(alice, "anthropic", KEY, ring(FIRST).newest)
    await keys.remove_key(alice, "openai")
    (shown,) = await keys.list_keys(alice)
    assert (shown.provider, shown.hint) == ("anthropic", "...9b7c")
    entries = await audit.entries(any_store._database, since=since)
    changes = [one.change for one in entries if one.change.resource == "own_key"]
    assert [(one.action, one.target, one.username) for one in changes] == [
        ("create", "openai", "alice"),
        ("create", "anthropic", "alice"),
        ("write", "anthropic", "alice"),
        ("delete", "openai", "alice"),
    ]
    for sql in ("SELECT * FROM own_keys", "SELECT * FROM audit_logs"):
        rows = await any_store._database.fetch(sql)
        text = "".join(str(tuple(row)) for row in rows)  # type: ignore[arg-type]
        assert KEY.reveal() not in text
        assert KEY.reveal()[:12] not in text


async def test_rotation(any_store: Store, keys: OwnKeyStore) -> None:
    """After a rotation the old master key is not needed; a record that does not open is named."""
    users = [(await _user(any_store, f"user-{number}"))[0] for number in range(3)]
    old, both, new = ring(FIRST), ring(SECOND, FIRST), ring(SECOND)
    for user in users:
        await keys.set_key(user, "anthropic", KEY, old.newest)
    await keys.set_key(users[0], "openai", KEY, both.newest)
    await any_store._database.execute(
        "UPDATE own_keys SET envelope = $1 WHERE user_id = $2", "v1.damaged", users[2].id
    )
    done, problems = await keys.rotate(both.open, both.newest)
    assert done == 2
    (problem,) = problems
    assert problem.startswith("user-2, provider anthropic: ")
    rows = await any_store._database.fetch("SELECT user_id, provider, envelope FROM own_keys")
    opened = [
        new.open(row["envelope"], str(row["user_id"]), row["provider"])
        for row in rows
        if row["envelope"] != "v1.damaged"
    ]
    assert opened == [KEY] * 3
    assert await keys.rotate(both.open, both.newest) == (0, problems)


async def test_a_copied_record_does_not_open(
    any_store: Store, keys: OwnKeyStore, reading: IdentitySource
) -> None:
    """A user who can write to the table and copies another's envelope gets no key."""
    alice, _ = await _user(any_store)
    bob, token = await _user(any_store, "bob")
    await keys.set_key(alice, "anthropic", KEY, ring(FIRST).newest)
    await any_store._database.execute(
        "UPDATE own_keys SET user_id = $1 WHERE user_id = $2", bob.id, alice.id
    )
    found = ring(FIRST).stored_key(await _identity(reading, token), "anthropic")
    assert isinstance(found, Unreadable)
    assert "belongs to another record" in found.why


async def test_a_limited_batch_of_rotation(
    any_store: Store, keys: OwnKeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation processes all records, however few fit into one transaction."""
    monkeypatch.setattr("authz.own_keys.store._BATCH", 2)
    for number in range(5):
        user, _ = await _user(any_store, f"user-{number}")
        await keys.set_key(user, "anthropic", KEY, ring(FIRST).newest)
    both = ring(SECOND, FIRST)
    assert await keys.rotate(both.open, both.newest) == (5, [])


async def test_without_a_table(any_store: Store) -> None:
    """Before the first key, there is nothing to list, remove or rotate."""
    alice, _ = await _user(any_store)
    keys = any_store.part(OwnKeyStore)
    assert await keys.list_keys(alice) == []
    assert not await keys.remove_key(alice, "anthropic")
    assert await keys.rotate(ring(FIRST).open, ring(FIRST).newest) == (0, [])


@pytest.mark.usefixtures("patient")
async def test_a_missing_table_in_postgresql(postgres: PostgresServer, own_tables: str) -> None:
    """Without the table every look-up fails, and the error says which command creates it."""
    url = postgres.url(postgres.database(own_tables))
    source = await open_source(url, own_keys=True)
    try:
        with pytest.raises(IdentityUnavailable, match="authz db init"):
            await source.check_ready()
        database = await open_database(url)
        assert await prepare(database)
        assert not await prepare(database)
        await database.close()
        await source.check_ready()
    finally:
        await source.close()


async def test_rights_in_postgresql(postgres: PostgresServer, own_tables: str) -> None:
    """A role that checks tokens may read envelopes; one that manages users may change keys."""
    name = postgres.database(own_tables)
    checks, manages = (f"{word}_{secrets.token_hex(4)}" for word in ("checks", "manages"))
    postgres.sql(
        name,
        f'CREATE ROLE "{checks}" LOGIN',
        f'CREATE ROLE "{manages}" LOGIN',
        *GRANTS.format(role=checks).splitlines(),
        f"GRANT SELECT (authz_rules) ON api_keys TO {checks}",
        f"GRANT SELECT (authz_groups) ON users TO {checks}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON users, api_keys, group_members TO {manages}",
        f"GRANT SELECT, INSERT, DELETE ON user_links TO {manages}",
        f"GRANT SELECT ON authz_schema TO {manages}",
        f"GRANT SELECT, INSERT ON audit_logs TO {manages}",
    )
    database = await open_database(postgres.url(name))
    await prepare(database)
    await database.close()
    store = await open_store(postgres.url(name, user=manages), create=False)
    alice, token = await _user(store)
    bob, _ = await _user(store, "bob")
    keys = store.part(OwnKeyStore)
    for user in (alice, bob):
        await keys.set_key(user, "anthropic", KEY, ring(FIRST).newest)
    await store.delete_user(bob)
    source = await open_source(postgres.url(name, user=checks), own_keys=True)
    found = await _identity(source, token)
    assert ring(FIRST).stored_key(found, "anthropic") == KEY
    await source.close()
    await store.close()
    with pytest.raises(RuntimeError, match="permission denied"):
        postgres.sql(name, f"SET ROLE {checks}", "SELECT hint FROM own_keys")


async def test_a_missing_table_in_sqlite(store: Store, path: Path) -> None:
    """A user without stored keys needs no table; the first stored key creates it."""
    alice, token = await _user(store)
    source = await open_source(f"sqlite:///{path}", own_keys=True)
    assert (await _identity(source, token)).own_keys == ()
    await store.part(OwnKeyStore).set_key(alice, "anthropic", KEY, ring(FIRST).newest)
    assert len((await _identity(source, token)).own_keys) == 1
    await source.close()


async def test_two_who_store_at_once(any_store: Store, keys: OwnKeyStore) -> None:
    """Concurrent changes of one record end with one of the two keys."""
    alice, _ = await _user(any_store)
    master = ring(FIRST).newest
    await asyncio.gather(
        *(keys.set_key(alice, "anthropic", Secret(f"sk-own-{n}"), master) for n in range(4))
    )
    assert len(await keys.list_keys(alice)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no key"),
        ("Abcdefghi1-Abcdefghijklmnopqrstu2", "holds a Coder token"),
        ("Bearer Abcdefghi1-Abcdefghijklmnopqrstu2", "holds a Coder token"),
        ("sk one", "white space"),
        ("schl\u00fcssel", "white space"),
        ("a\nb", "white space"),
        ("k" * 16_001, "longer than"),
    ],
)
def test_what_can_not_be_a_key(text: str, problem: str) -> None:
    """A Coder token and other texts are refused by a message without the text."""
    with pytest.raises(KeyRefused, match=problem) as caught:
        check_own_key(text)
    assert not text or text not in str(caught.value)


def test_providers_for_stored_keys() -> None:
    """A key is stored for a configured provider that takes one, and only with BYOK on."""
    check_provider(Config(), "anthropic")
    with pytest.raises(KeyRefused, match="the providers are anthropic"):
        check_provider(Config(), "anthropik")
    with pytest.raises(KeyRefused, match="allow_byok"):
        check_provider(Config(allow_byok=False), "anthropic")


def test_a_missing_master_key(tmp_path: Path) -> None:
    """A key that can't be read is logged with its setting, and a file is used once it is there."""
    file = tmp_path / "master.key"
    with capture_logs() as logs:
        keyring = Keyring([KeyReference(file=file), KeyReference(env="UNSET")], {})
        keyring.log_problems()
    settings = [one["why"].split(":")[0] for one in logs]
    assert settings == ["own_keys.keys[0].file", "own_keys.keys[1]"]
    with pytest.raises(ConfigError, match=r"own_keys.keys\[0\].file: .*No such file"):
        _ = keyring.newest
    envelope = ring(FIRST).newest.seal(KEY, "u", "p")
    with pytest.raises(BadEnvelope, match=r"own_keys.keys does not have.*UNSET is not set"):
        keyring.open(envelope, "u", "p")
    file.write_text(f"{FIRST}\n")
    assert keyring.open(envelope, "u", "p") == KEY
    file.write_text(f"{SECOND} \n\n")
    with pytest.raises(BadEnvelope, match="does not have"):
        keyring.open(envelope, "u", "p")


def test_a_master_key_of_a_command(tmp_path: Path) -> None:
    """A command can print a master key; one that fails runs again with a new ring only."""
    count = tmp_path / "runs"
    fails = KeyReference(exec=("/bin/sh", "-c", f"echo >> {count}; exit 3"))
    prints = KeyReference(exec=("/bin/echo", FIRST))
    keyring = Keyring([prints, fails], {"PATH": "/bin:/usr/bin"})
    assert keyring.newest.id == ring(FIRST).newest.id
    (problem,) = keyring.problems()
    assert problem.startswith("own_keys.keys[1]: ")
    assert count.read_text() == "\n"


def test_a_stale_answer_opens_no_key() -> None:
    """While the store is down, an earlier answer may identify a user but gives no stored key."""
    master = ring(FIRST)
    envelope = master.newest.seal(KEY, "u", "p")
    make: Callable[[bool], Identity] = lambda stale: Identity(  # noqa: E731
        "u", "alice", "", "t", "", None, stale, own_keys=(("p", envelope),)
    )
    assert master.stored_key(make(False), "p") == KEY
    assert isinstance(master.stored_key(make(True), "p"), Unreadable)
