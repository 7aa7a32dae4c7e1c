"""The groups of the token API: Coder's shapes, who may change what, and the explanation."""

from typing import Any

import pytest

from authz.core.rules import make_rules
from authz.core.tokens import generate
from authz.identity.accounts import ORGANIZATION_ID
from authz.identity.groups import GroupRecord

from .conftest import Api

_ORG = f"/organizations/{ORGANIZATION_ID}/groups"
_IDP = "https://idp.example.com"
_REDUCED = {
    *("id", "username", "name", "email", "avatar_url", "status", "login_type"),
    *("created_at", "updated_at", "last_seen_at", "theme_preference"),
}


@pytest.fixture
async def labs(api: Api) -> GroupRecord:
    """A group with alice."""
    group = await api.store.create_group("labs", "The labs", rules=make_rules(["openai"]))
    await api.store.add_members(group, [api.users["alice"]])
    return await api.store.get_group("labs")


async def _is(api: Api, who: str, method: str, path: str, status: int, **options: object) -> Any:
    response = await api.call(who, method, path, **options)
    assert response.status_code == status, response.text
    return response.json()


async def test_a_group_from_its_beginning_to_its_end(api: Api) -> None:
    """An owner creates, changes and deletes a group; every answer has Coder's shape."""
    body = {"name": "labs", "display_name": "The labs", "quota_allowance": 7, "avatar_url": "x"}
    made = await _is(api, "root", "POST", _ORG, 201, json=body)
    assert {name: made[name] for name in ("name", "display_name", "source", "members")} == {
        "name": "labs",
        "display_name": "The labs",
        "source": "user",
        "members": [],
    }
    path, alice = f"/groups/{made['id']}", api.users["alice"]
    change = {"name": "lab", "add_users": [alice.id, "bob"], "rules": {"modes": ["byok"]}}
    changed = await _is(api, "root", "PATCH", path, 200, json=change)
    assert (changed["name"], changed["rules"], changed["total_member_count"]) == (
        "lab",
        {"modes": ["byok"]},
        2,
    )
    assert [member["username"] for member in changed["members"]] == ["alice", "bob"]
    assert {*changed["members"][0]} == _REDUCED
    assert await _is(api, "root", "GET", path, 200) == changed
    assert await _is(api, "root", "GET", "/organizations/default/groups/LAB", 200) == changed
    kept = await _is(api, "root", "PATCH", path, 200, json={"remove_users": ["bob"]})
    assert kept["rules"] == {"modes": ["byok"]}
    nothing: tuple[object, ...] = (None, {})
    for none in nothing:
        await api.store.change_group(await api.store.get_group("lab"), rules=make_rules(["x"]))
        assert not (await _is(api, "root", "PATCH", path, 200, json={"rules": none}))["rules"]
    members = await _is(api, "root", "GET", f"{path}/members", 200)
    assert (members["count"], members["users"]) == (1, changed["members"][:1])
    page = await _is(api, "root", "GET", f"{_ORG}/lab/members?limit=1&offset=1", 200)
    assert page == {"users": [], "count": 1}
    for listing in ("/groups", _ORG, "/groups?has_member=alice"):
        (listed,) = await _is(api, "root", "GET", listing, 200)
        assert (listed["id"], listed["members"]) == (made["id"], [])
    assert await _is(api, "root", "GET", "/groups?has_member=bob", 200) == []
    await _is(api, "root", "DELETE", path, 200)
    await _is(api, "root", "GET", path, 404)


async def test_an_identity_providers_group(api: Api) -> None:
    """An issuer's group can be created with rules before anyone signs in, but without members."""
    body = {"name": "/staff", "issuer": _IDP, "rules": {"providers": ["anthropic"]}}
    made = await _is(api, "root", "POST", _ORG, 201, json=body)
    assert (made["source"], made["issuer"]) == ("oidc", _IDP)
    error = await _is(
        api, "root", "PATCH", f"/groups/{made['id']}", 400, json={"add_users": ["alice"]}
    )
    assert _IDP in error["detail"]


@pytest.mark.parametrize(
    ("who", "method", "at", "body", "status"),
    [
        ("helper", "POST", _ORG, {"name": "x"}, 403),
        ("helper", "PATCH", "labs", {"rules": None}, 403),
        ("helper", "PATCH", "labs", {"rules": {"modes": ["byok"]}, "add_users": ["bob"]}, 403),
        ("helper", "PATCH", "labs", {"name": "x"}, 403),
        ("helper", "PATCH", "labs", {"add_users": ["helper"]}, 403),
        ("helper", "PATCH", "labs", {"remove_users": ["helper"]}, 403),
        ("helper", "PATCH", "labs", {"add_users": ["bob", "root"]}, 403),
        ("helper", "DELETE", "labs", None, 403),
        ("helper", "PATCH", "labs", {"add_users": ["bob"], "remove_users": ["alice"]}, 200),
        ("alice", "POST", _ORG, {"name": "x"}, 403),
        ("alice", "PATCH", "labs", {"remove_users": ["alice"]}, 403),
        ("alice", "DELETE", "labs", None, 403),
        ("bob", "PATCH", "labs", {"add_users": ["bob"]}, 404),
        ("bob", "DELETE", "labs", None, 404),
    ],
)
async def test_who_may_change_groups(
    api: Api, labs: GroupRecord, who: str, method: str, at: str, body: object, status: int
) -> None:
    """Owners change groups, user administrators move others who are not owners, and no one else."""
    target = f"/groups/{labs.id}" if at == "labs" else at
    await _is(api, who, method, target, status, json=body)
    after = await api.store.get_group("labs")
    members = [user.username for user in await api.store.members_of(after)]
    assert after.rules == labs.rules
    assert members == (["bob"] if status == 200 else ["alice"])


async def test_who_may_see_groups(api: Api, labs: GroupRecord) -> None:
    """Members see their groups without the other members; to others a group does not exist."""
    assert (await _is(api, "helper", "GET", f"/groups/{labs.id}", 200))["members"]
    own = await _is(api, "alice", "GET", f"/groups/{labs.id}", 200)
    assert (own["members"], own["rules"]) == ([], {"providers": ["openai"]})
    assert [group["id"] for group in await _is(api, "alice", "GET", "/groups", 200)] == [labs.id]
    await _is(api, "alice", "GET", f"/groups/{labs.id}/members", 404)
    await _is(api, "alice", "GET", "/groups?has_member=bob", 404)
    for path in (f"/groups/{labs.id}", f"{_ORG}/labs", "/groups/labs", f"{_ORG}/nothing"):
        await _is(api, "bob", "GET", path, 404)
    assert await _is(api, "bob", "GET", "/groups", 200) == []
    await _is(api, "root", "GET", "/organizations/other/groups", 404)


async def test_a_limited_token_changes_no_group(api: Api, labs: GroupRecord) -> None:
    """A limited token changes no group, even an owner's, since it could lift its owner's rules."""
    text, _ = await api.store.create_token(
        api.users["root"], "limited", rules=make_rules(["openai"])
    )
    api.tokens["limited"] = text
    assert await _is(api, "limited", "GET", "/groups", 200) == []
    await _is(api, "limited", "PATCH", f"/groups/{labs.id}", 404, json={"rules": None})
    await api.store.add_members(labs, [api.users["root"]])
    await _is(api, "limited", "PATCH", f"/groups/{labs.id}", 403, json={"rules": None})
    await _is(api, "limited", "DELETE", f"/groups/{labs.id}", 403)
    await _is(api, "limited", "POST", _ORG, 403, json={"name": "x"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": generate()[0]}, "name"),
        ({"name": "x", "display_name": "a\nb"}, "display_name"),
        ({"name": "x", "rules": {"providers": ["nowhere"]}}, "rules"),
        ({"name": "x", "rules": {"provider": ["openai"]}}, "rules"),
        ({"name": "", "issuer": _IDP}, "name"),
        ({}, "name"),
    ],
)
async def test_wrong_bodies(api: Api, body: dict[str, object], field: str) -> None:
    """The error names the field and quotes no value."""
    error = await _is(api, "root", "POST", _ORG, 400, json=body)
    assert field in [one["field"].split(".")[0] for one in error["validations"]]
    assert str(body.get("name") or "nowhere") not in error["message"]
    assert await api.store.list_groups() == []


async def test_a_taken_name(api: Api, labs: GroupRecord) -> None:
    """It is a 409 when a group is created and when it is renamed."""
    await _is(api, "root", "POST", _ORG, 409, json={"name": "LABS"})
    other = await api.store.create_group("other")
    await _is(api, "root", "PATCH", f"/groups/{other.id}", 409, json={"name": "labs"})
    error = await _is(
        api, "root", "PATCH", f"/groups/{labs.id}", 400, json={"add_users": ["nobody"]}
    )
    assert error["validations"][0]["field"] == "add_users"


async def test_why_a_user_may_use_a_provider(api: Api, labs: GroupRecord) -> None:
    """Users ask about themselves and their tokens, administrators about every user."""
    path = "/users/me/explain?provider=anthropic&mode=centralized"
    (answer,) = await _is(api, "alice", "GET", path, 200)
    assert answer["allowed"] is False
    assert 'The group "labs" does not allow it: it is limited to openai.' in answer["reasons"]
    answers = await _is(api, "helper", "GET", "/users/alice/explain?provider=openai", 200)
    assert [one["mode"] for one in answers] == ["centralized", "byok"]
    with_token = await _is(api, "alice", "GET", "/users/me/explain?provider=openai&token=main", 200)
    assert 'The token "main" has no rules.' in with_token[0]["reasons"]
    await _is(api, "bob", "GET", "/users/alice/explain?provider=openai", 404)
    # A user administrator may not see the tokens of a person.
    await _is(api, "helper", "GET", "/users/alice/explain?provider=openai&token=main", 404)
    await _is(api, "alice", "GET", "/users/me/explain?provider=openai&token=nothing", 404)
    for wrong in ("", "?provider=", "?provider=A/B", "?provider=openai&mode=both"):
        await _is(api, "alice", "GET", f"/users/me/explain{wrong}", 400)
