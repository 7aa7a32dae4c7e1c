"""Access to users and tokens, the same for the token API and the pages."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from authz.identity.accounts import ApiKey, User
from authz.identity.open import open_store
from authz.identity.store import Store
from authz.web.access import Access

EVERYONE = {"root", "helper", "alice", "bob", "bot", "chief"}
SEEN = {
    "root": EVERYONE,
    "helper": EVERYONE,
    "alice": {"alice"},
    "bob": {"bob"},
    "bot": {"bot"},
    "chief": EVERYONE,
}
USED = {
    "root": EVERYONE,
    "helper": {"helper", "bot"},
    "alice": {"alice"},
    "bob": {"bob"},
    "bot": {"bot"},
    "chief": EVERYONE,
}
"""Users whose tokens each caller may use. The service account ``chief`` is an owner."""


@dataclass
class People:
    """A store with an owner, a user administrator, members and service accounts."""

    store: Store
    users: dict[str, User]
    keys: dict[str, ApiKey]

    def access(self, name: str, *, is_limited: bool = False) -> Access:
        """Return the access of a user."""
        return Access(self.store, self.users[name], is_limited)


@pytest.fixture
async def people(store_url: str) -> AsyncIterator[People]:
    """People on each database, each with a token."""
    store = await open_store(store_url, create=True)
    users = {
        "root": await store.create_user("root", role="owner"),
        "helper": await store.create_user("helper", role="user-admin"),
        "alice": await store.create_user("alice"),
        "bob": await store.create_user("bob"),
        "bot": await store.create_user("bot", service_account=True),
        "chief": await store.create_user("chief", service_account=True, role="owner"),
    }
    keys = {name: (await store.create_token(user))[1] for name, user in users.items()}
    yield People(store, users, keys)
    await store.close()


async def test_every_pair_of_users(people: People) -> None:
    """Each caller finds the users and tokens that their role gives, by id as by name."""
    for caller in people.users:
        access = people.access(caller)
        for name, user in people.users.items():
            pair = f"{caller} and {name}"
            for reference, by_name in ((user.id, False), (user.id, True), (name, True)):
                found = await access.find_user(reference, by_name=by_name)
                assert (found is not None) is (name in SEEN[caller]), pair
                owner = await access.find_token_owner(reference, by_name=by_name)
                assert (owner is not None) is (name in USED[caller]), pair
            assert access.may_see(user) is (name in SEEN[caller]), pair
            assert access.may_use_tokens_of(user) is (name in USED[caller]), pair
        assert access.sees_all_users is (SEEN[caller] == EVERYONE)
        listed = await access.list_usable_tokens(include_expired=False)
        assert {key.username for key in listed} == USED[caller]


async def test_a_limited_token_sees_its_owner_only(people: People) -> None:
    """An owner's limited token finds neither other users nor their tokens."""
    for caller in people.users:
        access = people.access(caller, is_limited=True)
        for name, user in people.users.items():
            assert (await access.find_user(user.id) is not None) is (name == caller)
            assert (await access.find_token_owner(user.id) is not None) is (name == caller)
        assert not access.sees_all_users
        listed = await access.list_usable_tokens(include_expired=True)
        assert {key.username for key in listed} == {caller}


@pytest.mark.parametrize("reference", ["", "me", "alice", "no one", "root'--", "00000000"])
async def test_only_ids_count_unless_names_are_accepted(people: People, reference: str) -> None:
    """Without ``by_name``, neither a name nor ``me`` finds a user, and no text is an error."""
    assert await people.access("root").find_user(reference) is None


async def test_me_is_the_caller(people: People) -> None:
    """With ``by_name`` the word ``me`` stands for the caller."""
    found = await people.access("alice").find_user("me", by_name=True)
    assert found == people.users["alice"]


async def test_a_key_is_found_at_its_owner_only(people: People) -> None:
    """A token is found by its whole id and its owner only."""
    access, key = people.access("root"), people.keys["alice"]
    found = await access.find_key(people.users["alice"], key.id)
    assert found is not None
    assert found.id == key.id
    assert await access.find_key(people.users["bob"], key.id) is None
    for text in ("", key.id[:9], f"{key.id}x", "é" * 10, f"{key.id[:9]}%"):
        assert await access.find_key(people.users["alice"], text) is None
