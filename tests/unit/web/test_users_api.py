"""Users, roles and organizations of the API, as ``coder users`` calls it and codersdk reads it."""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.rules import make_rules
from authz.core.tokens import parse
from authz.identity.accounts import ORGANIZATION_ID
from authz.identity.open import open_source
from authz.web.api.errors import CODER_VERSION
from authz.web.api.user_search import read_search

from .conftest import PASSWORD, Api

NOT_FOUND = "Resource not found or you do not have access to this resource"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


def _is_user(body: dict[str, Any]) -> None:
    """Check that Go's decoder of ``codersdk.User`` would accept the body."""
    UUID(body["id"])
    for field in ("created_at", "updated_at", "last_seen_at"):
        assert _MOMENT.fullmatch(body[field]), field
        datetime.fromisoformat(body[field])
    for field in ("username", "name", "email", "avatar_url", "login_type", "theme_preference"):
        assert isinstance(body[field], str), field
    assert body["status"] in ("active", "dormant", "suspended")
    assert isinstance(body["is_service_account"], bool)
    assert [UUID(one) for one in body["organization_ids"]] == [UUID(ORGANIZATION_ID)]
    assert all({"name", "display_name"} <= role.keys() for role in body["roles"])


async def _create(api: Api, who: str = "root", /, **body: object) -> httpx.Response:
    """Send what ``coder users create`` sends, with changes."""
    sent = {
        "email": "carol@example.com",
        "username": "carol",
        "name": "Carol C.",
        "password": PASSWORD,
        "login_type": "password",
        "organization_ids": [ORGANIZATION_ID],
    }
    return await api.call(who, "POST", "/users", json={**sent, **body})


async def test_coder_users_from_create_to_delete(any_api: Api) -> None:
    """Users can be created, listed, suspended, activated, given roles and deleted by Coder's CLI.

    Each call takes effect at the next request with the user's token.
    """
    [organization] = (await any_api.call("root", "GET", "/users/me/organizations")).json()
    UUID(organization["id"])
    made = await _create(any_api, organization_ids=[organization["id"]])
    assert made.status_code == 201, made.text
    _is_user(made.json())
    assert (made.json()["name"], made.json()["status"]) == ("Carol C.", "active")
    body = {"email": "carol@example.com", "password": PASSWORD}
    signed_in = await any_api.call(None, "POST", "/users/login", json=body)
    any_api.tokens["carol"] = signed_in.json()["session_token"]
    # The sign-in's cookie would win over the header of each later call.
    any_api.client.cookies.clear()

    async def works() -> bool:
        return (await any_api.call("carol", "GET", "/users/me")).status_code == 200

    assert await works()
    listed = (await any_api.call("root", "GET", "/users?q=")).json()
    assert [user["username"] for user in listed["users"]] == sorted([*any_api.users, "carol"])
    assert listed["count"] == 6
    for user in listed["users"]:
        _is_user(user)
    user_id = made.json()["id"]
    suspended = await any_api.call("root", "PUT", f"/users/{user_id}/status/suspend")
    assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")
    assert not await works()
    activated = await any_api.call("root", "PUT", f"/users/{user_id}/status/activate")
    assert (activated.status_code, activated.json()["status"]) == (200, "active")
    assert await works()
    before = await any_api.call("root", "GET", "/users/carol/roles")
    assert before.json() == {"roles": [], "organization_roles": {}}
    known = (await any_api.call("root", "GET", "/users/roles")).json()
    assert {role["name"] for role in known} == {"owner", "user-admin"}
    changed = await any_api.call("root", "PUT", "/users/carol/roles", json={"roles": ["owner"]})
    assert changed.status_code == 200
    assert changed.json()["roles"] == [{"name": "owner", "display_name": "Owner"}]
    after = await any_api.call("root", "GET", "/users/carol/roles")
    assert after.json()["roles"] == ["owner"]
    gone = await any_api.call("root", "DELETE", f"/users/{user_id}")
    assert (gone.status_code, gone.json()) == (200, {"message": "User has been deleted!"})
    assert not await works()
    assert (await any_api.call("root", "GET", "/users/carol")).status_code == 404
    entries = await any_api.store.audit_entries(datetime.fromisoformat(made.json()["created_at"]))
    actions = [str(entry.change.action) for entry in entries if entry.change.target == "carol"]
    assert actions == ["create", "suspend", "activate", "roles", "delete"]


async def test_an_account_without_a_password(api: Api) -> None:
    """``--login-type none`` and ``service_account`` make users who can't sign in."""
    person = await _create(api, login_type="none", password="")
    machine = await _create(
        api,
        username="ci",
        email="",
        name="",
        password="",
        login_type="",
        service_account=True,
    )
    assert (person.status_code, machine.status_code) == (201, 201)
    assert [one.json()["is_service_account"] for one in (person, machine)] == [False, True]
    for name in ("carol", "ci"):
        body = {"email": name, "password": PASSWORD}
        assert (await api.call(None, "POST", "/users/login", json=body)).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "me"}, "username"),
        ({"username": ""}, "username"),
        ({"email": "carol"}, "email"),
        ({"name": "x" * 129}, "name"),
        ({"password": ""}, "password"),
        ({"password": "short"}, "password"),
        ({"service_account": True}, "password"),
        ({"login_type": "oidc"}, "login_type"),
        ({"organization_ids": ["9f7b0a77-0000-4000-8000-000000000000"]}, "organization_ids"),
        ({"organization_id": "x"}, "organization_ids"),
        ({"user_status": "suspended"}, "user_status"),
        ({"roles": ["owner", "user-admin"]}, "roles"),
        ({"roles": ["auditor"]}, "roles"),
        ({"username": 1}, "username"),
        ({"roles": "owner"}, "roles"),
    ],
)
async def test_a_user_is_made_whole_or_not_at_all(
    api: Api, body: dict[str, object], field: str
) -> None:
    """A mistake is a 400 that names its field and quotes no password, and makes no user."""
    answer = await _create(api, **body)
    assert answer.status_code == 400, answer.text
    assert [one["field"] for one in answer.json()["validations"]] == [field]
    assert PASSWORD not in answer.text
    assert len(await api.store.list_users()) == 5


@pytest.mark.parametrize(
    ("body", "field"),
    [({"username": "Alice"}, "username"), ({"email": "ALICE@example.com"}, "email")],
)
async def test_a_taken_name_is_a_conflict(
    any_api: Api, body: dict[str, object], field: str
) -> None:
    """A name or address of another user, whatever its case, is a 409."""
    answer = await _create(any_api, **body)
    assert (answer.status_code, answer.json()["message"]) == (409, "User already exists.")
    assert [one["field"] for one in answer.json()["validations"]] == [field]


CHANGES = (
    ("PUT", "/status/suspend", None),
    ("PUT", "/status/activate", None),
    ("PUT", "/roles", {"roles": ["user-admin"]}),
    ("DELETE", "", None),
)


@pytest.mark.parametrize("who", ["helper", "alice", "bot"])
async def test_who_may_change_whom(api: Api, who: str) -> None:
    """Members change no user, user administrators no owner and no roles, and no one themselves."""
    for target in ("root", "bob", "me"):
        for method, rest, body in CHANGES:
            answer = await api.call(who, method, f"/users/{target}{rest}", json=body)
            if who == "helper" and target == "bob" and rest != "/roles":
                assert answer.status_code == 200
                continue
            assert answer.status_code in (400, 403, 404), (target, rest)
        if who == "helper" and target == "bob":
            assert await api.store.find_user("bob") is None
    assert {"root", "helper", "alice", "bot"} <= {u.username for u in await api.store.list_users()}
    made = await _create(api, who)
    assert made.status_code == (201 if who == "helper" else 403)
    given = await _create(api, who, username="dave", email="d@example.com", roles=["owner"])
    assert given.status_code == 403
    listed = (await api.call(who, "GET", "/users")).json()
    if who != "helper":
        assert [user["username"] for user in listed["users"]] == [who]


@pytest.mark.parametrize(
    ("method", "rest", "body", "message"),
    [
        ("PUT", "/status/suspend", None, "You cannot suspend yourself."),
        ("PUT", "/status/activate", None, "You cannot change your own status."),
        ("PUT", "/roles", {"roles": []}, "You cannot change your own roles."),
        ("DELETE", "", None, "You cannot delete yourself!"),
    ],
)
async def test_an_owner_remains(
    api: Api, method: str, rest: str, body: dict[str, object] | None, message: str
) -> None:
    """An owner can't change or delete themselves, under any name."""
    for name in ("me", "root", "ROOT", api.users["root"].id):
        answer = await api.call("root", method, f"/users/{name}{rest}", json=body)
        assert (answer.status_code, answer.json()["message"]) == (400, message)
    root = await api.store.find_user("root")
    assert root is not None
    assert (root.status, root.roles) == ("active", ("owner",))


async def test_a_limited_token_manages_nobody(api: Api) -> None:
    """A limited token of an owner sees its owner only, and can't create, change or delete users."""
    rules = make_rules(["openai"], None)
    api.tokens["limited"], _ = await api.store.create_token(
        api.users["root"], "limited", timedelta(hours=1), rules
    )
    assert (await _create(api, "limited")).status_code == 403
    for method, rest, body in CHANGES:
        answer = await api.call("limited", method, f"/users/alice{rest}", json=body)
        assert answer.status_code == 404, rest
        answer = await api.call("limited", method, f"/users/me{rest}", json=body)
        assert answer.status_code == 403, rest
    listed = (await api.call("limited", "GET", "/users")).json()
    assert [user["username"] for user in listed["users"]] == ["root"]
    assert not any(
        role["assignable"] for role in (await api.call("limited", "GET", "/users/roles")).json()
    )
    assert len(await api.store.list_users()) == 5


async def test_a_list_of_users_comes_in_parts(any_api: Api) -> None:
    """``limit``, ``offset`` and ``after_id`` choose a part of the list, and ``q`` filters it."""

    async def names(query: str) -> list[str]:
        answer = await any_api.call("helper", "GET", f"/users?{query}")
        assert answer.status_code == 200, answer.text
        return [user["username"] for user in answer.json()["users"]]

    assert await names("limit=2") == ["alice", "bob"]
    assert await names("limit=2&offset=2") == ["bot", "helper"]
    assert await names("limit=0&offset=4") == ["root"]
    assert await names("offset=5") == []
    assert await names(f"after_id={any_api.users['bot'].id}") == ["helper", "root"]
    assert await names("after_id=nobody") == []
    assert await names("q=BO") == ["bob", "bot"]
    assert await names("q=role:owner") == ["root"]
    assert await names("q=role:member+example.com") == ["alice", "bob"]
    await any_api.store.set_status(any_api.users["bob"], "suspended")
    assert await names("q=status:suspended") == ["bob"]
    counted = await any_api.call("helper", "GET", "/users?limit=1&q=bo")
    assert counted.json()["count"] == 2
    for query in ("limit=-1", "limit=x", "offset=1e3", "limit=%D9%A3", "q=github_com_user_id:1"):
        answer = await any_api.call("helper", "GET", f"/users?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["validations"], query


@given(st.text() | st.from_regex(r"((status|role|x)?:?[a-z ]{0,4}){0,4}", fullmatch=True))
def test_any_search_text_is_read_or_refused(text: str) -> None:
    """Any text is a ValueError or a search that holds each of its terms in lower case."""
    try:
        search = read_search(text)
    except ValueError:
        assert ":" in text
        return
    terms = [*search.words]
    terms += [f"status:{search.status}"] * bool(search.status)
    terms += [f"role:{search.role}"] * bool(search.role)
    assert sorted(terms) == sorted(text.casefold().split())


async def test_there_is_one_organization(api: Api) -> None:
    """The only organization has an id and a name, and every user is in it."""
    listed = (await api.call("alice", "GET", "/organizations")).json()
    assert listed == (await api.call("alice", "GET", "/users/alice/organizations")).json()
    [organization] = listed
    assert organization["is_default"] is True
    assert _MOMENT.fullmatch(organization["created_at"])
    for name in (ORGANIZATION_ID, "default"):
        for prefix in ("", "/users/me"):
            answer = await api.call("alice", "GET", f"{prefix}/organizations/{name}")
            assert (answer.status_code, answer.json()) == (200, organization)
    for path in ("/organizations/other", "/users/bob/organizations"):
        answer = await api.call("alice", "GET", path)
        assert (answer.status_code, answer.json()["message"]) == (404, NOT_FOUND)


@pytest.mark.parametrize(
    "place", ["/", "/templates", "/users/", "/users/me/keys/a/b/c", "/ai-gateway/sessions"]
)
async def test_an_unknown_route_is_coders_404(api: Api, place: str) -> None:
    """A path without a route is a 404 that says so, whatever the method and the token."""
    for who in ("alice", None):
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            answer = await api.call(who, method, place)
            assert (answer.status_code, answer.json()) == (404, {"message": "Route not found."})


async def test_every_answer_has_coders_version(api: Api) -> None:
    """Every answer has the version header, also refusals, unknown routes and missing bodies."""
    for who, method, path in (
        ("alice", "GET", "/users/me"),
        (None, "GET", "/users/me"),
        (None, "GET", "/users/first"),
        (None, "GET", "/nope"),
        ("alice", "PATCH", "/users/me"),
        ("alice", "POST", "/users/me/keys/tokens"),
        ("alice", "PUT", f"/users/me/keys/{api.tokens['alice'][:10]}/expire"),
        (None, "GET", "/openapi.json"),
    ):
        answer = await api.call(who, method, path)
        assert answer.headers["x-coder-build-version"] == CODER_VERSION, (path, answer.status_code)
    info = (await api.call(None, "GET", "/buildinfo")).json()
    assert info["version"] == CODER_VERSION
    assert info["authz_version"].startswith("v")


async def test_coder_login_with_a_service_accounts_token(any_api: Api, store_url: str) -> None:
    """``coder login --token`` reads its user and creates a session, which it then uses."""
    assert (await any_api.call(None, "GET", "/users/first")).status_code == 200
    me = await any_api.call("bot", "GET", "/users/me")
    assert (me.status_code, me.json()["username"]) == (200, "bot")
    made = await any_api.call("bot", "POST", "/users/me/keys")
    assert made.status_code == 201, made.text
    source = await open_source(store_url)
    token = parse(made.json()["key"])
    assert token is not None
    assert getattr(await source.verify(token), "username", None) == "bot"
    await source.close()
