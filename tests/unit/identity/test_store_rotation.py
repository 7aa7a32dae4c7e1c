"""authz.identity.store: rotation of tokens, on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from authz.core.identity import Identity, IdentitySource
from authz.core.rules import Mode, make_rules
from authz.core.tokens import CoderToken, parse
from authz.errors import StoreError
from authz.identity.names import check_token_name, rotated_name
from authz.identity.store import Store
from authz.identity.store_keys import NotRotated

_HOUR = timedelta(hours=1)


def _parsed(text: str) -> CoderToken:
    token = parse(text)
    assert token is not None
    return token


async def _works(source: IdentitySource, text: str) -> bool:
    return isinstance(await source.verify(_parsed(text)), Identity)


async def test_both_tokens_work_in_the_overlap(
    any_store: Store, any_source: IdentitySource
) -> None:
    """The new token has the name, limits and lifetime; the old one works and ends soon."""
    user = await any_store.create_user("alice")
    rules = make_rules(["anthropic"], [Mode.BYOK], ["anthropic"])
    old_text, old = await any_store.create_token(user, "laptop", timedelta(days=3), rules)
    text, new = await any_store.rotate_token(user, old, _HOUR)
    assert (new.token_name, new.rules, new.lifetime_seconds, new.scopes, new.allow_list) == (
        "laptop",
        rules,
        old.lifetime_seconds,
        old.scopes,
        old.allow_list,
    )
    assert new.id != old.id
    assert await _works(any_source, text)
    assert await _works(any_source, old_text)
    kept = await any_store.find_key(user, old.id)
    assert kept is not None
    assert kept.token_name == f"laptop-old-{old.id}"
    assert kept.expires_at - new.created_at == _HOUR


async def test_no_overlap_ends_the_old_token(any_store: Store, any_source: IdentitySource) -> None:
    """With an overlap of zero, the next look-up refuses the old token."""
    user = await any_store.create_user("alice")
    old_text, old = await any_store.create_token(user, "laptop")
    text, _ = await any_store.rotate_token(user, old, timedelta(0))
    assert not await _works(any_source, old_text)
    assert await _works(any_source, text)


async def test_an_overlap_never_extends_a_token(any_store: Store) -> None:
    """A token that ends before the overlap keeps its end."""
    user = await any_store.create_user("alice")
    _, old = await any_store.create_token(user, "laptop", timedelta(minutes=5))
    await any_store.rotate_token(user, old, timedelta(days=1))
    kept = await any_store.find_key(user, old.id)
    assert kept is not None
    assert kept.expires_at == old.expires_at


async def test_of_two_rotations_at_once_one_succeeds(any_store: Store) -> None:
    """Two concurrent rotations of one token create one new token."""
    user = await any_store.create_user("alice")
    _, old = await any_store.create_token(user, "laptop")
    results = await asyncio.gather(
        *(any_store.rotate_token(user, old, _HOUR) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(result, StoreError) for result in results) == 1
    assert len(await any_store.list_tokens(user)) == 2


async def test_what_can_not_be_rotated_is_left_alone(any_store: Store) -> None:
    """An ended token, a session, and a suspended user's token are refused and unchanged."""
    user = await any_store.create_user("alice")
    _, ended = await any_store.create_token(user, "ended")
    await any_store.expire_token(ended)
    stale = await any_store.find_key(user, ended.id)
    assert stale is not None
    for key in (ended, stale):
        with pytest.raises(StoreError, match="has ended"):
            await any_store.rotate_token(user, key)
    _, session = await any_store.create_session(user)
    with pytest.raises(StoreError, match="session"):
        await any_store.rotate_token(user, session)
    _, key = await any_store.create_token(user, "laptop")
    await any_store.set_status(user, "suspended")
    with pytest.raises(StoreError, match="suspended"):
        await any_store.rotate_token(user, key)
    assert await any_store.find_key(user, key.id) == key


async def test_a_rotation_is_audited(any_store: Store) -> None:
    """The log names the old token, its new end, and the token that replaces it."""
    user = await any_store.create_user("alice")
    _, old = await any_store.create_token(user, "laptop")
    _, new = await any_store.rotate_token(user, old, _HOUR)
    entries = await any_store.audit_entries(since=datetime.min.replace(tzinfo=UTC))
    [entry] = [entry for entry in entries if entry.change.action == "rotate"]
    assert entry.change.resource_id == old.id
    assert entry.change.fields["successor"] == new.id


def test_a_long_name_stays_within_the_limit() -> None:
    """The name of a rotated token is a valid token name, however long it was."""
    assert check_token_name(rotated_name("x" * 64, "a" * 10)) is None


async def test_a_taken_name_of_the_old_token_is_an_error(any_store: Store) -> None:
    """Nothing is changed if another token has the name that the old one would get."""
    user = await any_store.create_user("alice")
    _, old = await any_store.create_token(user, "laptop")
    await any_store.create_token(user, rotated_name("laptop", old.id))
    with pytest.raises(NotRotated, match="remove that"):
        await any_store.rotate_token(user, old)
    assert await any_store.find_key(user, old.id) == old
