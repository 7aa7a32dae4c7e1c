"""Passwords over the API: people change their own, administrators set those of others."""

import httpx
import pytest

from authz.identity.passwords import proves_password
from authz.secret import Secret
from authz.web.sign_in import PER_USER

from .conftest import PASSWORD, Api

NEW = "another horse battery"


async def _change(
    api: Api, who: str, old: str = PASSWORD, new: str = NEW, of: str = "me"
) -> httpx.Response:
    body = {"old_password": old, "password": new}
    return await api.call(who, "PUT", f"/users/{of}/password", json=body)


async def test_people_change_their_own(any_api: Api) -> None:
    """A change keeps the calling session and tokens, ends other sessions, and is audited."""
    alice = any_api.users["alice"]
    sessions = [(await any_api.store.create_session(alice))[0] for _ in range(2)]
    any_api.tokens |= {"here": sessions[0], "there": sessions[1]}
    assert (await _change(any_api, "here")).status_code == 204
    for who, status in (("here", 200), ("there", 401), ("alice", 200)):
        assert (await any_api.call(who, "GET", "/users/me")).status_code == status, who
    hashed = await any_api.store.password_hash(alice)
    assert proves_password(Secret(NEW), hashed)
    (entry,) = [
        entry
        for entry in await any_api.store.audit_entries(alice.created_at)
        if entry.change.action == "password"
    ]
    assert (entry.actor.name, entry.change.fields) == ("alice", {"sessions_ended": 1})


@pytest.mark.parametrize(
    ("who", "old", "new", "field"),
    [
        ("alice", "wrong horse battery", NEW, "old_password"),
        ("alice", "", NEW, "old_password"),
        ("alice", PASSWORD, "short", "password"),
        ("alice", PASSWORD, PASSWORD, "password"),
        ("bob", "", NEW, "old_password"),
    ],
)
async def test_a_refused_change_names_its_field(
    api: Api, who: str, old: str, new: str, field: str
) -> None:
    """Nothing changes if the old password is wrong, the new one bad, or no password is set."""
    before = await api.store.password_hash(api.users[who])
    answer = await _change(api, who, old, new)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["validations"]] == [field]
    assert await api.store.password_hash(api.users[who]) == before


async def test_guessing_the_old_password_is_limited(api: Api) -> None:
    """A stolen session can't try passwords faster than the sign-in form lets it."""
    for _ in range(PER_USER):
        assert (await _change(api, "alice", "wrong horse battery")).status_code == 400
    answer = await _change(api, "alice")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


async def test_administrators_set_those_of_others(api: Api) -> None:
    """Administrators need no old password but can't change owners; members change no other user."""
    assert (await _change(api, "helper", "", of="alice")).status_code == 204
    assert (await _change(api, "helper", "", of="root")).status_code == 404
    assert (await _change(api, "alice", "", of="bob")).status_code == 404
    assert (await _change(api, "root", "", of="bot")).status_code == 400
    assert (await _change(api, "root", "", "short", of="bob")).status_code == 400
