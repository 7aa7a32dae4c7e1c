"""Signing in and out, the places of a token, and the errors for a bad one."""

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.identity import Identity
from authz.core.rules import make_rules
from authz.core.tokens import generate, parse
from authz.database.postgres import PostgresDatabase
from authz.database.sqlite import SQLiteDatabase
from authz.identity.coder_answer import Answer, is_build_info, read_user
from authz.identity.passwords import proves_password
from authz.secret import Secret
from authz.web import sign_in as module
from authz.web.api.authentication import _malformed
from authz.web.sign_in_limits import Limit

from .conftest import PASSWORD, PEER, Api

SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."
INCORRECT = {"message": "Incorrect email or password."}


async def _log_in(
    api: Api, name: str = "alice@example.com", password: str = PASSWORD
) -> httpx.Response:
    return await api.client.post("/api/v2/users/login", json={"email": name, "password": password})


@pytest.mark.parametrize("name", ["alice@example.com", "ALICE@EXAMPLE.COM", "alice"])
async def test_a_password_makes_a_session(any_api: Api, name: str) -> None:
    """A password makes a session as in Coder: 24 hours, all scopes, no name, an HttpOnly cookie."""
    answer = await _log_in(any_api, name)
    assert answer.status_code == 201
    text = answer.json()["session_token"]
    assert answer.headers["set-cookie"] == (
        f"coder_session_token={text}; HttpOnly; Path=/; SameSite=lax; Secure"
    )
    any_api.tokens["session"] = text
    key = (await any_api.call("session", "GET", f"/users/me/keys/{text[:10]}")).json()
    assert (key["login_type"], key["token_name"]) == ("password", "")
    assert key["lifetime_seconds"] == 86400
    assert key["scopes"] == ["coder:all"]


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice@example.com", "wrong horse battery"),
        ("nobody@example.com", PASSWORD),
        ("nobody", PASSWORD),
        ("bob@example.com", ""),
        ("bob@example.com", PASSWORD),
        ("bot", PASSWORD),
        ("", ""),
        ("a\x00b@x", "\ud7ff"),
        ("x" * 1000, "y" * 1000),
    ],
)
async def test_one_answer_for_every_failure(any_api: Api, name: str, password: str) -> None:
    """A failed sign-in does not reveal which users exist, and its audit entry has no password."""
    answer = await _log_in(any_api, name, password)
    assert (answer.status_code, answer.json()) == (401, INCORRECT)
    assert "set-cookie" not in answer.headers
    entry = (await any_api.store.audit_entries(datetime(2000, 1, 1, tzinfo=UTC)))[-1]
    assert entry.change.action == "login_failed"
    assert (entry.actor.kind, entry.actor.ip) == ("nobody", PEER)
    assert not password or password not in repr(entry)


async def test_every_name_costs_the_same(any_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known, unknown and impossible names cost the same number of statements and one hash."""
    await any_api.store.set_status(any_api.users["bob"], "suspended")
    counted: Counter[str] = Counter()

    def proves(password: Secret, stored: bytes | None) -> bool:
        counted["hash"] += 1
        return False

    def counts(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def counting(*args: object) -> object:
            counted["statement"] += 1
            return original(*args)

        monkeypatch.setattr(kind, name, counting)

    monkeypatch.setattr(module, "proves_password", proves)
    counts(SQLiteDatabase, "_on_worker")
    counts(PostgresDatabase, "_answered")
    # The first call opens the store.
    await _log_in(any_api, "first", "wrong")
    costs = {}
    for name in ("alice", "bob", "alice@example.com", "nobody", "no@body.example", "@", "x y"):
        counted.clear()
        assert (await _log_in(any_api, name, "wrong")).status_code == 401
        costs[name] = dict(counted)
    assert costs["alice"]["statement"] > 2
    assert all(cost == costs["alice"] for cost in costs.values()), costs


async def test_a_suspended_user_is_told_only_with_the_password(api: Api) -> None:
    """A suspended user gets no session, and learns of it only with the right password."""
    await api.store.set_status(api.users["alice"], "suspended")
    assert (await _log_in(api, password="wrong horse battery")).json() == INCORRECT
    answer = await _log_in(api)
    assert answer.status_code == 401
    assert answer.json()["message"].startswith("Your account is suspended")


async def test_a_new_sign_in_replaces_the_old_session(api: Api) -> None:
    """A new sign-in ends the browser's earlier session, but no other session and no token."""
    first = (await _log_in(api)).json()["session_token"]
    assert api.client.cookies["coder_session_token"] == first
    second = (await _log_in(api)).json()["session_token"]
    api.tokens |= {"first": first, "second": second}
    api.client.cookies.clear()
    assert (await api.call("first", "GET", "/users/me")).status_code == 401
    assert (await api.call("second", "GET", "/users/me")).status_code == 200
    api.client.cookies.set("coder_session_token", api.tokens["bob"])
    await _log_in(api)
    api.client.cookies.clear()
    assert (await api.call("bob", "GET", "/users/me")).status_code == 200


async def test_signing_out(api: Api) -> None:
    """Signing out ends the calling session, or with ``everywhere`` all sessions, but no token.

    A token that signs out is deleted itself, as in Coder.
    """
    sessions = {name: (await _log_in(api)).json()["session_token"] for name in ("a",)}
    api.client.cookies.clear()
    sessions["b"] = (await _log_in(api)).json()["session_token"]
    api.client.cookies.clear()
    sessions["c"] = (await _log_in(api)).json()["session_token"]
    api.client.cookies.clear()
    api.tokens |= sessions
    answer = await api.call("a", "POST", "/users/logout")
    assert (answer.status_code, answer.json()) == (200, {"message": "Logged out!"})
    assert 'coder_session_token="";' in answer.headers["set-cookie"]
    assert [(await api.call(n, "GET", "/users/me")).status_code for n in "abc"] == [401, 200, 200]
    await api.call("b", "POST", "/users/logout?everywhere=true")
    assert [(await api.call(n, "GET", "/users/me")).status_code for n in "abc"] == [401, 401, 401]
    assert (await api.call("alice", "GET", "/users/me")).status_code == 200
    assert (await api.call("alice", "POST", "/users/logout")).status_code == 200
    assert (await api.call("alice", "GET", "/users/me")).status_code == 401


async def test_a_password_change_ends_sessions(api: Api) -> None:
    """A password change ends all sessions, and the old password no longer works."""
    api.tokens["session"] = (await _log_in(api)).json()["session_token"]
    api.client.cookies.clear()
    await api.store.set_password(api.users["alice"], Secret("another horse battery"))
    assert (await api.call("session", "GET", "/users/me")).status_code == 401
    assert (await _log_in(api)).status_code == 401
    assert (await _log_in(api, password="another horse battery")).status_code == 201


async def test_a_password_that_changes_while_it_is_compared(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that is changed while it is compared gives no session."""
    compare = proves_password

    def changing(password: Secret, hashed: bytes | None) -> bool:
        asyncio.run_coroutine_threadsafe(
            api.store.set_password(api.users["alice"], Secret("another horse battery")), loop
        ).result()
        return compare(password, hashed)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(module, "proves_password", changing)
    assert (await _log_in(api)).json() == INCORRECT


async def test_a_suspension_while_a_password_is_compared_stays(
    any_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dormant user who is suspended during the sign-in is not made active."""
    await any_api.store._database.execute(
        "UPDATE users SET status = 'dormant', hashed_password = $1 WHERE username = 'alice'", b"x"
    )

    def suspending(_password: Secret, _hashed: bytes | None) -> bool:
        asyncio.run_coroutine_threadsafe(
            any_api.store.set_status(any_api.users["alice"], "suspended"), loop
        ).result()
        return True

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(module, "proves_password", suspending)
    assert (await _log_in(any_api)).status_code == 401
    assert (await any_api.store.get_user("alice")).status == "suspended"


async def test_too_many_tries(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten tries a minute, even the right password of a name is refused; others are not."""
    monkeypatch.setattr(module, "proves_password", lambda *_: False)
    answers = [(await _log_in(api, password="wrong horse battery")) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[-1].json() == {"message": "You've been rate limited. Please try again later."}
    assert answers[-1].headers["retry-after"] == "6"
    assert (await _log_in(api)).status_code == 429
    assert (await _log_in(api, "bob@example.com")).status_code == 401


async def test_too_many_names_from_one_peer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying many names from one peer is limited too; Envoy tells authz the peer."""
    monkeypatch.setattr(module, "proves_password", lambda *_: False)
    answers = [(await _log_in(api, f"user{n}@example.com")).status_code for n in range(31)]
    assert answers == [401] * 30 + [429]
    other = {"x-authz-peer": "192.0.2.8"}
    body = {"email": "alice@example.com", "password": "x"}
    answer = await api.client.post("/api/v2/users/login", json=body, headers=other)
    assert answer.status_code == 401


async def test_only_envoy_says_where_a_request_comes_from(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client past Envoy is limited and audited by its own address, whatever it claims."""
    monkeypatch.setattr(module, "proves_password", lambda *_: False)
    transport = httpx.ASGITransport(api.app, client=("192.0.2.99", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="https://gateway.test") as client:
        answers = []
        for number in range(31):
            body = {"email": f"user{number}@example.com", "password": "x"}
            headers = {"x-authz-peer": f"198.51.100.{number}"}
            answer = await client.post("/api/v2/users/login", json=body, headers=headers)
            answers.append(answer.status_code)
    assert answers == [401] * 30 + [429]
    entries = await api.store.audit_entries(datetime(2000, 1, 1, tzinfo=UTC))
    peers = [entry.actor.ip for entry in entries]
    assert peers.count("192.0.2.99") == 30
    assert not any((peer or "").startswith("198.51.100.") for peer in peers)


@pytest.mark.parametrize(
    ("peer", "other"),
    [("2001:db8::{:x}", "2001:db8:0:1::1"), ("::ffff:192.0.2.9", "::ffff:192.0.2.10")],
)
async def test_one_host_of_many_addresses_is_one_peer(
    api: Api, monkeypatch: pytest.MonkeyPatch, peer: str, other: str
) -> None:
    """All addresses of one IPv6 /64 count as one host, so changing them resets nothing."""
    monkeypatch.setattr(module, "proves_password", lambda *_: False)

    async def status(peer: str, name: str) -> int:
        body = {"email": name, "password": "x"}
        headers = {"x-authz-peer": peer}
        answer = await api.client.post("/api/v2/users/login", json=body, headers=headers)
        return answer.status_code

    answers = [await status(peer.format(n), f"user{n}") for n in range(1, 32)]
    assert answers == [401] * 30 + [429]
    assert await status(other, "user") == 401


async def test_signing_in_with_a_token(api: Api) -> None:
    """A token makes a session of its owner for the page; a limited or a machine's token doesn't."""
    signed_in = await api.sign_in.by_token(api.store, Secret(api.tokens["alice"]), PEER)
    assert signed_in.user.username == "alice"
    limited, _ = await api.store.create_token(
        api.users["alice"], "ci", rules=make_rules(["openai"])
    )
    for text in (limited, api.tokens["bot"], "hello", generate()[0]):
        with pytest.raises(module.SignInRefused):
            await api.sign_in.by_token(api.store, Secret(text), PEER)


@pytest.mark.parametrize(
    "place",
    [
        {"cookies": {"coder_session_token": "T"}},
        {"params": {"coder_session_token": "T"}},
        {"headers": {"Coder-Session-Token": "T"}},
        {"headers": {"Authorization": "Bearer T"}},
        {"headers": {"authorization": "bEARER  T"}},
        {"params": {"access_token": "T"}},
    ],
)
async def test_where_a_token_may_stand(api: Api, place: dict[str, dict[str, str]]) -> None:
    """A token is accepted in every place that Coder's ordinary API knows."""

    def filled(name: str) -> dict[str, str]:
        values = place.get(name, {}).items()
        return {key: re.sub("T$", api.tokens["alice"], value) for key, value in values}

    cookies = [f"{name}={value}" for name, value in filled("cookies").items()]
    headers = {**filled("headers"), **({"cookie": cookies[0]} if cookies else {})}
    url = "/api/v2/users/me"
    answer = await api.client.get(url, headers=headers, params=filled("params"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["username"] == "alice"


async def test_the_order_of_places(api: Api) -> None:
    """The order is cookie, query, Coder-Session-Token, Bearer, access_token, without empty ones."""
    names = ("root", "helper", "alice", "bob", "bot")
    for count in range(5):
        given = [api.tokens[name] if place >= count else "" for place, name in enumerate(names)]
        answer = await api.client.get(
            "/api/v2/users/me",
            headers={
                "cookie": f"coder_session_token={given[0]}",
                "coder-session-token": given[2],
                "authorization": f"Bearer {given[3]}",
            },
            params={"coder_session_token": given[1], "access_token": given[4]},
        )
        assert answer.json()["username"] == names[count]


@pytest.mark.parametrize(
    ("token", "detail"),
    [
        ("", 'Cookie "coder_session_token" or query parameter must be provided.'),
        (
            "abc",
            "Invalid API key format: incorrect amount of API key parts, expected 2 got 1",
        ),
        (
            "a-b-c",
            "Invalid API key format: incorrect amount of API key parts, expected 2 got 3",
        ),
        ("abc-def", "Invalid API key format: invalid API key ID length, expected 10 got 3"),
        (
            "0123456789-def",
            "Invalid API key format: invalid API key secret length, expected 22 got 3",
        ),
        ("0123456789-0123456789012345678901", "API key is invalid."),
        ("01234567_9-0123456789012345678901", "API key is invalid."),
    ],
)
async def test_what_is_said_of_a_bad_token(any_api: Api, token: str, detail: str) -> None:
    """A bad token gets Coder's message and detail, and the challenge of the RFC."""
    headers = {"coder-session-token": token}
    answer = await any_api.client.get("/api/v2/users/me", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"message": SIGNED_OUT, "detail": detail})
    assert answer.headers["www-authenticate"] == 'Bearer realm="coder", error="invalid_token"'


async def test_only_who_has_the_secret_learns_of_a_token(any_api: Api) -> None:
    """A wrong secret looks like an unknown id; only the right one reveals expiry or suspension."""
    text, key = await any_api.store.create_token(any_api.users["bob"], "gone")
    await any_api.store.expire_token(key)
    any_api.tokens |= {
        "wrong": f"{any_api.tokens['bob'][:10]}-{'x' * 22}",
        "wrong and expired": f"{text[:10]}-{'x' * 22}",
        "expired": text,
    }
    for who in ("wrong", "wrong and expired"):
        answer = await any_api.call(who, "GET", "/users/me")
        assert answer.json() == {"message": SIGNED_OUT, "detail": "API key is invalid."}
    answer = await any_api.call("expired", "GET", "/users/me")
    assert answer.json()["detail"].startswith(f'API key expired at "{datetime.now(UTC):%Y-%m-%d} ')
    assert answer.json()["detail"].endswith('+0000 UTC".')
    await any_api.store.set_status(any_api.users["bob"], "suspended")
    answer = await any_api.call("bob", "GET", "/users/me")
    assert answer.status_code == 401
    assert answer.json()["message"] == (
        'User is not active (status = "suspended"). Contact an admin to reactivate your account.'
    )


async def test_our_own_client_of_coders_api_reads_it(any_api: Api) -> None:
    """The client of Coder's API accepts this server's answers as Coder's."""
    answer = await any_api.call("alice", "GET", "/users/me")
    seen = Answer(200, answer.headers["content-type"], answer.content)
    identity = read_user(seen, any_api.tokens["alice"][:10])
    assert isinstance(identity, Identity)
    assert identity.username == "alice"
    answer = await any_api.client.get("/api/v2/buildinfo")
    assert is_build_info(Answer(200, answer.headers["content-type"], answer.content))


async def test_a_session_slides_and_a_token_does_not(any_api: Api) -> None:
    """A use extends a session but not a token, at most once an hour, and its time is recorded."""
    store, alice = any_api.store, any_api.users["alice"]
    for made, slides in (
        (await store.create_session(alice, timedelta(hours=24)), True),
        (await store.create_token(alice, "fixed", timedelta(hours=24)), False),
    ):
        text, key = made
        any_api.tokens["used"] = text
        await store._database.execute(
            "UPDATE api_keys SET expires_at = $1 WHERE id = $2",
            key.expires_at - timedelta(hours=2),
            key.id,
        )
        for _ in range(2):
            await any_api.call("used", "GET", "/users/me")
            found = await store.find_key(alice, key.id)
            assert found is not None
            assert found.last_used is not None
            moved = found.expires_at - (key.expires_at - timedelta(hours=2))
            assert (timedelta(hours=2) <= moved < timedelta(hours=2, minutes=1)) is slides
    user = await store.find_user("alice")
    assert user is not None
    assert user.last_seen_at is not None


async def test_a_dormant_user_wakes_up(any_api: Api) -> None:
    """An ordinary call makes a dormant user active, as in Coder."""
    await any_api.store._database.execute("UPDATE users SET status = 'dormant'")
    assert (await any_api.call("alice", "GET", "/users/me")).status_code == 200
    user = await any_api.store.find_user("alice")
    assert user is not None
    assert user.status == "active"


async def test_a_narrow_scope_reaches_nothing(any_api: Api) -> None:
    """A token with a narrower scope, in a copied row, is answered as by Coder."""
    value = ["workspace:read"]
    await any_api.store._database.execute("UPDATE api_keys SET scopes = $1", value)
    answer = await any_api.call("root", "GET", "/users/me")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://gateway.test.evil.example"},
        {"origin": "http://[bad"},
    ],
)
async def test_another_sites_page_changes_nothing(api: Api, headers: dict[str, str]) -> None:
    """A change that a browser sends from another site is refused, and one from its own is not."""
    cookie = {"cookie": f"coder_session_token={api.tokens['alice']}"}
    answer = await api.client.post(
        "/api/v2/users/me/keys/tokens", headers={**cookie, **headers}, json={}
    )
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Something is wrong with your CSRF token.")
    assert len(await api.store.list_tokens(api.users["alice"])) == 1
    own = {**cookie, "sec-fetch-site": "same-origin", "origin": "https://gateway.test"}
    answer = await api.client.post("/api/v2/users/me/keys/tokens", headers=own, json={})
    assert answer.status_code == 201


@given(st.text() | st.from_regex(r"[0-9A-Za-z_]{9,11}-[0-9A-Za-z_]{21,23}(-x)?", fullmatch=True))
def test_what_is_said_of_any_text(text: str) -> None:
    """The detail for a malformed token quotes nothing of it."""
    if parse(text) is None:
        detail = _malformed(text)
        assert detail.startswith(("Invalid API key format: ", "API key is invalid."))
        assert len(text) < 12 or text not in detail


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 30)), max_size=60))
def test_a_limit_holds_whatever_comes(steps: list[tuple[int, float]]) -> None:
    """A key passes at most twice its limit in any minute, and memory stays bounded."""
    now = 0.0
    limit = Limit(5, 60, max_keys=8, clock=lambda: now)
    passed: dict[str, list[float]] = {}
    for number, pause in steps:
        now += pause
        key = str(number % 8)
        seconds = limit.take(key)
        if seconds is None:
            times = passed.setdefault(key, [])
            times.append(now)
            assert sum(now - 60 <= one for one in times) <= 10
        else:
            assert 0 < seconds <= 12
        assert len(limit._buckets) <= 8


def test_a_good_sign_in_gives_its_try_back() -> None:
    """A successful sign-in is not counted, so that frequent use is not slowed down."""
    limit = Limit(2, 60, clock=lambda: 0.0)
    for _ in range(5):
        assert limit.take("alice") is None
        limit.give_back("alice")
    assert [limit.take("alice") for _ in range(3)] == [None, None, 30]
