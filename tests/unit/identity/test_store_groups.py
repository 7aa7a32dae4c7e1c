"""Groups of the store, on both databases: changes, what a check sees of them, and the sign-in."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.groups import Group
from authz.core.identity import Identity, IdentitySource
from authz.core.permissions import Use, permit
from authz.core.rules import NO_RULES, make_rules
from authz.core.tokens import CoderToken, parse
from authz.errors import StoreError
from authz.identity.accounts import User
from authz.identity.audit import Actor
from authz.identity.groups import MAX_GROUPS, GroupTaken, clean_name, clean_names, folded
from authz.identity.open import open_source, open_store
from authz.identity.store import Store
from tests.support.postgres import PostgresServer

_IDP, _OTHER = "https://idp.example.com", "https://other.example.com"
_OPENAI, _BYOK = make_rules(["openai"]), make_rules(None, ["byok"])
_LONG_AGO = datetime.now(UTC) - timedelta(days=1)
_TOKEN_SHAPED = "Abcdefghi1-Abcdefghijklmnopqrstu2"


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
    """The source on the same tables, as another process has it."""
    opened = await open_source(identity)
    yield opened
    await opened.close()


@pytest.fixture
async def alice(store: Store) -> User:
    """A user."""
    return await store.create_user("alice", "alice@example.com")


async def _token(store: Store, user: User) -> CoderToken:
    token = parse((await store.create_token(user))[0])
    assert token is not None
    return token


async def _memberships(source: IdentitySource, token: CoderToken) -> tuple[Group, ...]:
    identity = await source.verify(token)
    assert isinstance(identity, Identity)
    return identity.memberships


async def _audited(store: Store) -> list[tuple[str, str, str]]:
    entries = await store.audit_entries(_LONG_AGO)
    return [
        (entry.change.action, entry.change.target, entry.change.username)
        for entry in entries
        if entry.change.resource == "group" or entry.change.action == "groups"
    ]


async def test_every_change_shows_in_the_next_check(
    store: Store, source: IdentitySource, alice: User
) -> None:
    """Membership, rules, name and deletion of a group reach the identity of the next look-up."""
    token = await _token(store, alice)
    assert await _memberships(source, token) == ()
    research = await store.create_group("research", "Research")
    everyone = await store.create_group("Everyone")
    assert await store.add_members(research, [alice]) == 1
    assert await store.add_members(research, [alice]) == 0
    await store.add_members(everyone, [alice])
    assert await _memberships(source, token) == (Group("Everyone"), Group("research"))
    research = await store.change_group(research, rules=_OPENAI)
    assert (research.rules, research.member_count) == (_OPENAI, 1)
    assert await _memberships(source, token) == (Group("Everyone"), Group("research", _OPENAI))
    await store.change_group(research, name="labs", display_name="The labs")
    assert await _memberships(source, token) == (Group("Everyone"), Group("labs", _OPENAI))
    await store.change_group(research, rules=NO_RULES)
    assert await _memberships(source, token) == (Group("Everyone"), Group("labs"))
    assert await store.remove_members(everyone, [alice]) == 1
    assert await store.remove_members(everyone, [alice]) == 0
    assert await _memberships(source, token) == (Group("labs"),)
    labs = await store.get_group("LABS")
    assert labs == await store.get_group(labs.id)
    assert await store.delete_group(labs) == 1
    assert await store.delete_group(labs) == 0
    assert await _memberships(source, token) == ()
    assert await _audited(store) == [
        ("create", "research", ""),
        ("create", "Everyone", ""),
        ("add_member", "research", "alice"),
        ("add_member", "Everyone", "alice"),
        ("write", "research", ""),
        ("write", "research", ""),
        ("write", "labs", ""),
        ("remove_member", "Everyone", "alice"),
        ("delete", "labs", ""),
    ]


async def test_a_member_who_is_removed_while_checks_run_is_refused_next(
    store: Store, source: IdentitySource, alice: User
) -> None:
    """A check that starts after a change sees that change, while other checks keep running."""
    token = await _token(store, alice)
    limiting = await store.create_group("limiting", rules=_BYOK)
    wide = await store.create_group("wide", rules=_OPENAI)
    await store.add_members(limiting, [alice])

    async def allowed() -> bool:
        return permit(NO_RULES, await _memberships(source, token), Use("openai")).allowed and any(
            group.name == "wide" for group in await _memberships(source, token)
        )

    running = True

    async def checks() -> None:
        while running:
            await allowed()
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(checks())
        for _ in range(10):
            await store.add_members(wide, [alice])
            assert await allowed()
            await store.remove_members(wide, [alice])
            assert not await allowed()
        running = False


async def test_many_members_change_in_one_statement(
    store: Store, source: IdentitySource, alice: User
) -> None:
    """New rules of a group with 3,000 members reach the first and the last of them at once."""
    count = 3_000
    group = await store.create_group("big")
    users = [alice, await store.create_user("zoe")]
    async with store._database.transaction() as transaction:
        made = [(f"00000000-0000-4000-8000-{n:012}", f"u{n}") for n in range(count)]
        for start in range(0, count, 500):
            values = ", ".join(
                f"('{one}', '{name}', 'active', $1, $1)" for one, name in made[start : start + 500]
            )
            await transaction.execute(
                "INSERT INTO users (id, username, status, created_at, updated_at)"  # noqa: S608
                f" VALUES {values}",
                alice.created_at,
            )
        await transaction.insert(
            "group_members",
            {"user_id": "uuid", "group_id": "uuid"},
            [(one, group.id) for one, _ in made],
        )
    await store.add_members(group, users)
    tokens = [await _token(store, user) for user in users]
    began = perf_counter()
    changed = await store.change_group(group, rules=_OPENAI)
    assert perf_counter() - began < 30
    assert changed.member_count == count + 2
    for token in tokens:
        assert await _memberships(source, token) == (Group("big", _OPENAI),)
    members = await store.members_of(group, 1, 2)
    assert [user.username for user in members] == ["u0", "u1"]
    assert await store.delete_group(group) == count + 2
    assert await _memberships(source, tokens[0]) == ()


async def test_names_of_groups(store: Store) -> None:
    """A group name is unique within its source, ignoring case; a bad name is an error."""
    await store.create_group("research")
    with pytest.raises(GroupTaken, match="named RESEARCH exists already"):
        await store.create_group("RESEARCH")
    other = await store.create_group("research", source=_IDP)
    assert (await store.get_group("Research")).is_local
    assert not (await store.get_group(other.id)).is_local
    second = await store.create_group("labs")
    with pytest.raises(GroupTaken, match="named research exists"):
        await store.change_group(second, name="research")
    assert await store.change_group(second, name="Labs")
    for bad in ("", "a b", "-a", "a" * 65, "new", "Create", _TOKEN_SHAPED, "ü"):
        with pytest.raises(StoreError) as caught:
            await store.create_group(bad)
        assert bad == "" or len(bad) < 5 or bad not in str(caught.value)
    with pytest.raises(StoreError, match="display name"):
        await store.create_group("x", "a\nb")
    with pytest.raises(StoreError, match="authz groups list"):
        await store.get_group("nothing")


async def test_a_name_of_two_issuers_needs_the_id(store: Store) -> None:
    """A name of two issuers' groups needs the id if there is no local group of the name."""
    for issuer in (_IDP, _OTHER):
        await store.create_group("staff", source=issuer)
    with pytest.raises(StoreError, match="use its id"):
        await store.get_group("staff")


async def test_a_sign_in_sets_exactly_the_groups_of_its_issuer(
    store: Store, source: IdentitySource, alice: User
) -> None:
    """Groups are created, kept and left; local ones and those of another issuer stay."""
    token = await _token(store, alice)
    local = await store.create_group("staff", rules=_BYOK)
    await store.add_members(local, [alice])
    await store.sync_groups(alice, _OTHER, ["guests"])
    assert await store.sync_groups(alice, _IDP, ["Staff", "/eng/ml ", "Staff", "", " "])
    assert [(one.name, one.source) for one in await store.groups_of(alice)] == [
        ("/eng/ml", _IDP),
        ("guests", _OTHER),
        ("staff", ""),
        ("Staff", _IDP),
    ]
    engineers = await store.get_group("/eng/ml")
    await store.change_group(engineers, rules=_OPENAI)
    assert Group("/eng/ml", _OPENAI) in await _memberships(source, token)
    assert await store.sync_groups(alice, _IDP, ["/ENG/ML", "new-hires"])
    assert [group.name for group in await _memberships(source, token)] == [
        "/eng/ml",
        "guests",
        "new-hires",
        "staff",
    ]
    assert await store.sync_groups(alice, _IDP, [])
    assert [group.name for group in await _memberships(source, token)] == ["guests", "staff"]
    last = (await store.audit_entries(_LONG_AGO))[-1].change
    assert (last.action, last.resource, last.target, last.fields) == (
        "groups",
        "user",
        "alice",
        {"source": _IDP, "added": [], "removed": ["/eng/ml", "new-hires"]},
    )


async def test_a_sign_in_that_changes_nothing_writes_nothing(store: Store, alice: User) -> None:
    """Syncing the same names again, in any case and order, starts no transaction."""
    await store.sync_groups(alice, _IDP, ["a", "b"])
    before = await store.audit_entries(_LONG_AGO)

    class NoWrites:
        def __init__(self, database: object) -> None:
            self.fetch = database.fetch  # type: ignore[attr-defined]

    reading = store.acting(Actor.of_os())
    reading._database = NoWrites(store._database)  # type: ignore[assignment]
    assert not await reading.sync_groups(alice, _IDP, ["B", "A", "a"])
    assert await store.audit_entries(_LONG_AGO) == before


async def test_too_many_groups_of_a_sign_in_change_nothing(store: Store, alice: User) -> None:
    """A sign-in with too many groups is refused, as dropping some could lift the user's limits."""
    await store.sync_groups(alice, _IDP, ["a"])
    with pytest.raises(StoreError, match=f"names 201 groups .* the most is {MAX_GROUPS}"):
        await store.sync_groups(alice, _IDP, [f"g{n}" for n in range(MAX_GROUPS + 1)])
    assert [group.name for group in await store.groups_of(alice)] == ["a"]
    assert await store.sync_groups(alice, _IDP, [f"g{n}" for n in range(MAX_GROUPS)])


async def test_people_do_not_choose_members_of_an_issuers_group(store: Store, alice: User) -> None:
    """Members and name of an issuer's group can't be changed; its rules and display name can."""
    await store.sync_groups(alice, _IDP, ["staff"])
    group = await store.get_group("staff")
    for change in (
        store.add_members(group, [alice]),
        store.remove_members(group, [alice]),
        store.change_group(group, name="other"),
        store.change_group(group, add=[alice]),
    ):
        with pytest.raises(StoreError, match=_IDP):
            await change
    assert (await store.change_group(group, display_name="All", rules=_BYOK)).rules == _BYOK
    assert await store.delete_group(group) == 1


async def test_nothing_remains_of_a_deleted_user(store: Store, alice: User) -> None:
    """A deleted user is removed from groups and can't be added again."""
    group = await store.create_group("a")
    await store.add_members(group, [alice])
    await store.delete_user(alice)
    assert (await store.get_group("a")).member_count == 0
    assert await store.members_of(group) == []
    with pytest.raises(StoreError, match="alice was deleted meanwhile"):
        await store.add_members(group, [alice])
    with pytest.raises(StoreError, match="alice was deleted meanwhile"):
        await store.sync_groups(alice, _IDP, ["x"])
    assert [one.name for one in await store.list_groups()] == ["a"]


async def test_a_deleted_group_gets_no_members(store: Store, alice: User) -> None:
    """A change of a group that was deleted meanwhile is an error and changes nothing."""
    group = await store.create_group("a")
    await store.delete_group(group)
    with pytest.raises(StoreError, match="group was deleted meanwhile"):
        await store.add_members(group, [alice])
    with pytest.raises(StoreError, match="group was deleted meanwhile"):
        await store.change_group(group, rules=_BYOK)


async def test_a_change_that_fails_midway_changes_nothing(store: Store, alice: User) -> None:
    """Name and members change together or not at all."""
    group = await store.create_group("a")
    gone = await store.create_user("gone")
    await store.delete_user(gone)
    with pytest.raises(StoreError, match="gone was deleted"):
        await store.change_group(group, name="b", rules=_BYOK, add=[alice, gone])
    assert await store.get_group("a") == group
    assert await store.groups_of(alice) == []


@given(st.text(max_size=400))
def test_a_cleaned_name_is_bounded_and_stable(name: str) -> None:
    """Any name becomes one short printable line, and cleaning it again changes nothing."""
    cleaned = clean_name(name)
    assert len(cleaned) <= 128
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip()
    assert clean_name(cleaned) == cleaned
    json.dumps(cleaned)


def test_long_names_stay_different() -> None:
    """Two names that differ only at their ends are two groups."""
    found = clean_names(["x" * 300 + "a", "x" * 300 + "b", "X", "x"])
    assert len(found) == 3


def test_names_fold_as_the_databases_do() -> None:
    """Only ASCII letters lose their case."""
    assert folded("ÄBC") == "Äbc"
