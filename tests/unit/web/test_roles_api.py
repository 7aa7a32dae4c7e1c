"""Access of each role to users' tokens through the token API, and the rules of roles."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.identity import roles
from authz.identity.accounts import ORGANIZATION_ID, User

from .conftest import Api

WHO = ("root", "helper", "alice", "bob", "bot")
REACHES = {
    "root": set(WHO),
    "helper": {"helper", "bot"},
    "alice": {"alice"},
    "bob": {"bob"},
    "bot": {"bot"},
}
"""The users whose tokens each caller may use."""


@pytest.mark.parametrize("who", WHO)
async def test_nobody_reaches_anothers_tokens_by_url(api: Api, who: str) -> None:
    """Every route accepts a name or UUID in any case, and is a 404 for tokens out of reach."""
    for target in WHO:
        allowed = target in REACHES[who]
        user, key = api.users[target], api.tokens[target][:10]
        for name in (target, target.upper(), user.id, user.id.upper()):
            path = f"/users/{name}/keys"
            for method, rest in (
                ("GET", "/tokens"),
                ("GET", "/tokens/main"),
                ("GET", "/tokens/tokenconfig"),
                ("GET", f"/{key}"),
            ):
                answer = await api.call(who, method, path + rest)
                assert answer.status_code == (200 if allowed else 404), (target, rest)
        made = await api.call(who, "POST", f"/users/{target}/keys/tokens", json={})
        assert made.status_code == (201 if allowed else 404)
        if target != who:
            for method, rest in (("PUT", f"/{key}/expire"), ("DELETE", f"/{key}")):
                ended = await api.call(who, method, f"/users/{target}/keys{rest}")
                assert ended.status_code == (204 if allowed else 404)


async def test_a_key_of_another_is_not_reached_through_oneself(api: Api) -> None:
    """Another user's token is not found under one's own name, not even by an owner."""
    key = api.tokens["bob"][:10]
    for who in ("alice", "root"):
        for method, rest in (("GET", ""), ("PUT", "/expire"), ("DELETE", "")):
            answer = await api.call(who, method, f"/users/me/keys/{key}{rest}")
            assert answer.status_code == 404
    assert (await api.call("bob", "GET", "/users/me")).status_code == 200


@pytest.mark.parametrize("who", WHO)
async def test_all_are_only_those_one_may_use(api: Api, who: str) -> None:
    """``include_all`` lists all tokens for an owner, and for others only those they may use."""
    answer = await api.call(who, "GET", "/users/me/keys/tokens?include_all=true")
    assert {key["username"] for key in answer.json()} == REACHES[who]


@pytest.mark.parametrize("who", WHO)
async def test_who_knows_of_whom(api: Api, who: str) -> None:
    """Members and machines can't see other users, nor tell them from missing ones."""
    sees_all = who in ("root", "helper")
    for target in (*WHO, "nobody"):
        answer = await api.call(who, "GET", f"/users/{target}")
        known = target != "nobody" and (sees_all or target == who)
        assert answer.status_code == (200 if known else 404)
        if not known:
            assert answer.json()["message"].startswith("Resource not found")


async def test_whether_there_is_anybody(any_api: Api) -> None:
    """``coder login`` asks for a first user without signing in; deleted users don't count."""
    answer = await any_api.call(None, "GET", "/users/first")
    assert (answer.status_code, answer.json()) == (
        200,
        {"message": "The initial user has already been created!"},
    )
    for user in any_api.users.values():
        await any_api.store.delete_user(user)
    answer = await any_api.call(None, "GET", "/users/first")
    assert (answer.status_code, answer.json()) == (
        404,
        {"message": "The initial user has not been created!"},
    )


async def test_a_user_has_coders_shape(api: Api) -> None:
    """``users/me`` has the shape that codersdk reads, with the roles' display names."""
    body = (await api.call("helper", "GET", "/users/me")).json()
    assert body["roles"] == [{"name": "user-admin", "display_name": "User Admin"}]
    assert {key: body[key] for key in ("username", "email", "status", "login_type")} == {
        "username": "helper",
        "email": "helper@example.com",
        "status": "active",
        "login_type": "password",
    }
    assert body["organization_ids"] == [ORGANIZATION_ID]
    assert "password" not in {name for name in body if name != "login_type"}


async def test_a_session_is_for_oneself(api: Api) -> None:
    """A user or machine gets a session by ``coder login`` for itself, but not for another."""
    assert (await api.call("alice", "POST", "/users/me/keys")).status_code == 201
    assert (await api.call("root", "POST", "/users/alice/keys")).status_code == 403
    assert (await api.call("alice", "POST", "/users/bob/keys")).status_code == 404
    made = await api.call("bot", "POST", "/users/me/keys")
    assert made.status_code == 201
    api.tokens["session"] = made.json()["key"]
    me = await api.call("session", "GET", "/users/me")
    assert (me.status_code, me.json()["username"]) == (200, "bot")


def _user(number: int, role: str, machine: bool) -> User:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return User(
        id=str(number),
        username=f"user{number}",
        email="",
        name="",
        status="active",
        login_type="password",
        is_service_account=machine,
        created_at=moment,
        updated_at=moment,
        last_seen_at=None,
        roles=roles.check_role(role),
        has_password=False,
    )


_USERS = st.builds(
    _user, st.integers(0, 3), st.sampled_from([*roles.STORED, roles.MEMBER]), st.booleans()
)


@given(_USERS, _USERS)
def test_nobody_gains_by_managing_another(one: User, two: User) -> None:
    """A user who is not an owner can't reach the tokens or password of one with more rights."""
    if one.id != two.id and not roles.is_owner(one):
        reached = roles.may_use_tokens_of(one, two)
        assert not (reached and (two.roles or not two.is_service_account))
        assert not (roles.may_manage(one, two) and roles.is_owner(two))
        assert roles.may_give(one, two.roles) is (not two.roles)
    if not one.roles:
        assert roles.may_use_tokens_of(one, two) is (one.id == two.id)
        assert not roles.may_manage(one, two)


async def test_a_role_taken_counts_at_once(api: Api) -> None:
    """An owner who loses the role can't reach other users from the next call on."""
    assert (await api.call("root", "GET", "/users/alice")).status_code == 200
    root = await api.store.set_role(api.users["root"], "member")
    assert root == replace(root, roles=())
    assert (await api.call("root", "GET", "/users/alice")).status_code == 404
