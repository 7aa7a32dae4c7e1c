"""authz.assigned.store and authz.assigned.current, on SQLite and PostgreSQL."""

from datetime import UTC, datetime

import pytest

from authz.assigned.current import AssignedRules
from authz.assigned.rule import LIMITS, RuleKind
from authz.assigned.store import AssignedStore
from authz.config.model_rules import ModelRule
from authz.errors import StoreError
from authz.identity.open import open_database
from authz.identity.owners import Owner, OwnerKind
from authz.identity.store import Store

pytestmark = pytest.mark.usefixtures("patient")


async def test_rules_from_their_beginning_to_their_end(any_store: Store, store_url: str) -> None:
    """Rules are set, replaced, listed, applied, removed and recorded in the audit log."""
    alice, bob = await any_store.create_user("alice"), await any_store.create_user("bob")
    group = await any_store.create_group("research")
    _, key = await any_store.create_token(alice, "ci")
    rules = any_store.part(AssignedStore)
    current = AssignedRules(lambda: open_database(store_url))
    assert current.value is None
    await current.refresh()
    assert current.value is not None
    assert (current.value.limits, current.value.models) == ({}, ())
    assert await rules.prepare()
    assert not await rules.prepare()
    await rules.set_rules(OwnerKind.USER, alice.id, {RuleKind.REQUESTS: 5})
    await rules.set_rules(OwnerKind.USER, alice.id, {RuleKind.REQUESTS: 7})
    await rules.set_rules(OwnerKind.TOKEN, key.id, {RuleKind.CONCURRENT: 2})
    await rules.set_rules(OwnerKind.GROUP, group.id, {RuleKind.ALLOW: ("claude-*", "gpt-*")})
    (denied,) = await rules.set_rules(OwnerKind.USER, bob.id, {RuleKind.DENY: ("*opus*",)})
    listed = await rules.list_rules()
    assert [(one.owner, one.name, one.kind, one.value) for one in listed] == [
        (OwnerKind.GROUP, "research", RuleKind.ALLOW, ("claude-*", "gpt-*")),
        (OwnerKind.TOKEN, "ci", RuleKind.CONCURRENT, 2),
        (OwnerKind.USER, "alice", RuleKind.REQUESTS, 7),
        (OwnerKind.USER, "bob", RuleKind.DENY, ("*opus*",)),
    ]
    assert [one.kind for one in await rules.list_rules(LIMITS)] == [
        RuleKind.CONCURRENT,
        RuleKind.REQUESTS,
    ]

    await current.refresh()
    assert current.value.limits == {
        Owner(OwnerKind.USER, alice.id): {RuleKind.REQUESTS: 7},
        Owner(OwnerKind.TOKEN, key.id): {RuleKind.CONCURRENT: 2},
    }
    assert set(current.value.models) == {
        ModelRule(groups=("research",), allow=("claude-*", "gpt-*")),
        ModelRule(users=("bob",), deny=("*opus*",)),
    }

    assert await rules.remove_rule(denied)
    assert not await rules.remove_rule(denied)
    # The rules of a deleted user and of a deleted token end with them.
    await any_store.delete_token(key)
    await any_store.delete_user(alice)
    await current.refresh()
    assert current.value.limits == {}
    assert len(current.value.models) == 1
    await current.stop()
    log = await any_store.audit_entries(datetime(2020, 1, 1, tzinfo=UTC), None)
    events = [one for one in log if one.change.resource == "rule"]
    assert [one.change.action for one in events] == ["write"] * 5 + ["delete"]


async def test_rules_that_can_not_be(any_store: Store, store_url: str) -> None:
    """A rule for a deleted owner is an error; a stored rule that can't be read is not ignored."""
    user = await any_store.create_user("carol")
    rules = any_store.part(AssignedStore)
    await rules.prepare()
    with pytest.raises(StoreError, match="requests_per_minute must be"):
        await rules.set_rules(OwnerKind.USER, user.id, {RuleKind.REQUESTS: 0})
    await any_store.delete_user(user)
    with pytest.raises(StoreError, match="was deleted"):
        await rules.set_rules(OwnerKind.USER, user.id, {RuleKind.REQUESTS: 1})
    other = await any_store.create_user("dave")
    await rules.set_rules(OwnerKind.USER, other.id, {RuleKind.DENY: ("m",)})
    await any_store._database.execute("UPDATE assigned_rules SET value = '{}'")
    current = AssignedRules(lambda: open_database(store_url))
    with pytest.raises(StoreError, match="can't be read"):
        await current.refresh()
    assert current.value is None
    await current.stop()
