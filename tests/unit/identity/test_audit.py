"""The audit log of the store, on both databases."""

import getpass
import socket
from datetime import UTC, datetime, timedelta

import pytest

from authz.core.rules import make_rules
from authz.errors import StoreError
from authz.identity import audit
from authz.identity.audit import Actor
from authz.identity.store import Store
from authz.secret import Secret

_ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
PASSWORD = "correct horse battery"


async def _actions(store: Store) -> list[tuple[str, str]]:
    return [
        (str(entry.change.action), entry.change.target)
        for entry in await store.audit_entries(_ALWAYS)
    ]


async def test_every_change_is_recorded(any_store: Store) -> None:
    """Each change of users and tokens is logged in order, with actor and time, without secrets."""
    alice = await any_store.create_user("alice", role="owner")
    text, key = await any_store.create_token(alice, "laptop", rules=make_rules(["openai"]))
    await any_store.expire_token(key)
    await any_store.delete_token(key)
    await any_store.set_role(alice, "member")
    await any_store.set_password(alice, Secret(PASSWORD))
    session, session_key = await any_store.create_session(alice)
    await any_store.sign_out(session_key)
    await any_store.note_failed_sign_in(alice, "wrong password")
    await any_store.note_failed_sign_in(None, "unknown user")
    await any_store.set_status(alice, "suspended")
    await any_store.set_status(alice, "active")
    await any_store.sign_out_everywhere(alice)
    await any_store.delete_user(alice)
    assert await _actions(any_store) == [
        ("create", "alice"),
        ("create", "laptop"),
        ("expire", "laptop"),
        ("delete", "laptop"),
        ("roles", "alice"),
        ("password", "alice"),
        ("login", ""),
        ("logout", ""),
        ("login_failed", "alice"),
        ("login_failed", ""),
        ("suspend", "alice"),
        ("activate", "alice"),
        ("logout", "alice"),
        ("delete", "alice"),
    ]
    entries = await any_store.audit_entries(_ALWAYS)
    written = repr([entry.as_json() for entry in entries])
    for secret in (text[11:], session[11:], PASSWORD, "argon2"):
        assert secret not in written
    assert entries[1].change.fields["rules"] == {"providers": ["openai"]}
    assert entries[1].change.resource_id == key.id
    me = f"{getpass.getuser()}@{socket.gethostname()}"
    assert {(entry.actor.kind, entry.actor.name) for entry in entries} == {("os", me)}
    assert all(abs(entry.time - datetime.now(UTC)) < timedelta(minutes=1) for entry in entries)


async def test_what_did_not_happen_is_not_recorded(any_store: Store) -> None:
    """A refused change and one that changed nothing leave no entry."""
    alice = await any_store.create_user("alice")
    _, key = await any_store.create_token(alice, "laptop")
    await any_store.delete_token(key)
    before = await _actions(any_store)
    await any_store.delete_token(key)
    await any_store.expire_token(key)
    for refused in (
        any_store.create_user("ALICE"),
        any_store.create_token(alice, ""),
        any_store.set_password(alice, Secret("short")),
        any_store.set_role(alice, "king"),
    ):
        with pytest.raises(StoreError):
            await refused
    assert await _actions(any_store) == before


async def test_the_change_and_its_entry_are_one(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change fails if its audit entry can't be written."""
    alice = await any_store.create_user("alice")
    _, key = await any_store.create_token(alice, "laptop")

    async def fails(*_args: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", fails)
        for change in (
            any_store.create_user("bob"),
            any_store.create_token(alice, "desk"),
            any_store.delete_token(key),
            any_store.expire_token(key),
            any_store.set_status(alice, "suspended"),
            any_store.delete_user(alice),
            any_store.set_password(alice, Secret(PASSWORD)),
        ):
            with pytest.raises(StoreError, match="disk is full"):
                await change
    assert [
        (user.username, user.status, user.has_password) for user in await any_store.list_users()
    ] == [("alice", "active", False)]
    assert await any_store.list_tokens() == [key]


async def test_another_actor_and_one_users_entries(any_store: Store) -> None:
    """A user of the API is named with their token, and a user's entries can be picked out."""
    alice = await any_store.create_user("alice")
    bob = await any_store.create_user("bob", role="owner")
    _, key = await any_store.create_token(bob, "desk")
    actor = Actor("user", "bob", bob.id, key.id, "192.0.2.7")
    acting = any_store.acting(actor)
    await acting.create_token(alice, "gift")
    [entry] = [e for e in await any_store.audit_entries(_ALWAYS, "bob") if e.actor == actor]
    assert entry.change.username == "alice"
    assert len(await any_store.audit_entries(_ALWAYS, "ALICE")) == 2
    assert await any_store.audit_entries(datetime.now(UTC) + timedelta(hours=1)) == []


async def test_old_entries_are_removed(any_store: Store) -> None:
    """Entries older than the retention are removed, and the others stay."""
    await any_store.create_user("alice")
    between = datetime.now(UTC)
    await any_store.create_user("bob")
    assert await any_store.prune_audit(between) == 1
    assert await _actions(any_store) == [("create", "bob")]
