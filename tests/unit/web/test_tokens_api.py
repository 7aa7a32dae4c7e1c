"""The responses of the token API, against the table of what Coder returns."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.rules import make_rules
from authz.core.tokens import parse
from authz.identity.open import open_source
from authz.usage.entry import Usage, UsageEntry

from .conftest import Api

KEYS = "/users/me/keys"
NOT_FOUND = {"message": "Resource not found or you do not have access to this resource"}
INVALID = "Failed to validate create API key request."
HOUR = 3_600_000_000_000


async def _create(api: Api, who: str = "alice", **body: object) -> str:
    answer = await api.call(who, "POST", f"{KEYS}/tokens", json=body)
    assert answer.status_code == 201, answer.text
    assert list(answer.json()) == ["key"]
    return str(answer.json()["key"])


async def test_a_token_is_made_listed_and_removed(any_api: Api, store_url: str) -> None:
    """A token is created, listed, expired and deleted as by Coder's CLI, each effective at once."""
    source = await open_source(store_url)
    text = await _create(any_api, token_name="laptop", lifetime=8 * HOUR)
    token = parse(text)
    assert token is not None
    assert isinstance(await source.verify(token), Identity)
    by_name = await any_api.call("alice", "GET", f"{KEYS}/tokens/laptop")
    by_id = await any_api.call("alice", "GET", f"{KEYS}/{text[:10]}")
    assert by_name.status_code == 200
    assert by_name.json() == by_id.json()
    listed = (await any_api.call("alice", "GET", f"{KEYS}/tokens")).json()
    assert listed[-1] == {**by_id.json(), "username": "alice"}
    assert text[11:] not in by_id.text
    expired = await any_api.call("alice", "PUT", f"{KEYS}/{text[:10]}/expire")
    assert (expired.status_code, expired.content) == (204, b"")
    assert await source.verify(token) is Rejection.EXPIRED
    names = [key["token_name"] for key in await _listed(any_api)]
    assert names == ["main"]
    names = [key["token_name"] for key in await _listed(any_api, "?include_expired=true")]
    assert names == ["main", "laptop"]
    deleted = await any_api.call("alice", "DELETE", f"{KEYS}/{text[:10]}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert await source.verify(token) is Rejection.UNKNOWN
    for method, path in (("DELETE", ""), ("PUT", "/expire"), ("GET", "")):
        gone = await any_api.call("alice", method, f"{KEYS}/{text[:10]}{path}")
        assert (gone.status_code, gone.json()) == (404, NOT_FOUND)
    await source.close()


async def _listed(api: Api, query: str = "", who: str = "alice") -> list[dict[str, Any]]:
    answer = await api.call(who, "GET", f"{KEYS}/tokens{query}")
    assert answer.status_code == 200
    return list(answer.json())


async def test_a_key_has_coders_shape(api: Api) -> None:
    """The names, types and times are those that codersdk reads."""
    text = await _create(api, token_name="laptop", lifetime=8 * HOUR)
    key = (await api.call("alice", "GET", f"{KEYS}/tokens/laptop")).json()
    created = datetime.fromisoformat(key["created_at"])
    assert key == {
        "id": text[:10],
        "user_id": api.users["alice"].id,
        "last_used": "1970-01-01T00:00:00Z",
        "expires_at": (created + timedelta(hours=8)).isoformat().replace("+00:00", "Z"),
        "created_at": key["created_at"],
        "updated_at": key["created_at"],
        "login_type": "token",
        "scope": "all",
        "scopes": ["coder:all"],
        "token_name": "laptop",
        "lifetime_seconds": 28800,
        "allow_list": ["*:*"],
        "rules": {},
    }


async def test_the_last_use_is_that_of_the_recorded_requests(any_api: Api) -> None:
    """Each answer with a token has the time of its last request at a provider."""
    text = await _create(any_api, token_name="laptop")
    rows = await any_api.usage.get()
    assert rows is not None
    owner = any_api.users["alice"].id
    for number, time_ms in enumerate((1_795_861_207_000, 1_795_861_200_000)):
        await rows.add(
            [
                UsageEntry(
                    id=f"test-{number}",
                    time_ms=time_ms,
                    decision="allow",
                    status=200,
                    usage=Usage.COMPLETE,
                    duration_ms=1,
                    user_id=owner,
                    token_id=text[:10],
                )
            ]
        )
    used = "2026-11-28T10:20:07Z"
    listed = {key["id"]: key["last_used"] for key in await _listed(any_api)}
    assert listed[text[:10]] == used
    for path in ("tokens/laptop", text[:10]):
        assert (await any_api.call("alice", "GET", f"{KEYS}/{path}")).json()["last_used"] == used
    everyone = await _listed(any_api, "?include_all=true", "root")
    assert [key["last_used"] for key in everyone if key["id"] == text[:10]] == [used]
    assert sum(key["last_used"] == used for key in everyone) == 1


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (
            {"lifetime": -1},
            400,
            {"message": INVALID, "detail": "lifetime must be positive number greater than 0"},
        ),
        (
            {"lifetime": 876_600 * HOUR + 1},
            400,
            {"message": INVALID, "detail": "lifetime must be less than 876600h0m0s"},
        ),
        (
            {"token_name": "main"},
            409,
            {
                "message": 'A token with name "main" already exists.',
                "validations": [
                    {
                        "field": "name",
                        "detail": "This value is already in use and should be unique.",
                    }
                ],
            },
        ),
        (
            {"scopes": ["workspace:read"]},
            400,
            {
                "message": "Failed to create API key.",
                "detail": "the only scope is coder:all; use rules to limit a token",
            },
        ),
        (
            {"allow_list": ["workspace:*"]},
            400,
            {
                "message": "Failed to create API key.",
                "detail": "the only allow list is *:*; use rules to limit a token",
            },
        ),
        (
            {"rules": {"modes": ["both"]}},
            400,
            {
                "message": INVALID,
                "validations": [{"field": "rules", "detail": "a mode is centralized or byok"}],
            },
        ),
    ],
)
async def test_what_is_refused(
    api: Api, body: dict[str, object], status: int, answer: dict[str, object]
) -> None:
    """A refusal has Coder's status, message and detail, and makes no token."""
    response = await api.call("alice", "POST", f"{KEYS}/tokens", json=body)
    assert (response.status_code, response.json()) == (status, answer)
    assert len(await _listed(api)) == 1


@pytest.mark.parametrize("scope", ["all", "coder:all"])
async def test_everything_is_optional(api: Api, scope: str) -> None:
    """An empty object, nulls, Coder's defaults and a field of a later version create a token."""
    for body in (b"{}", b" {} ", b'{"lifetime": null, "scopes": null, "later": 1}'):
        answer = await api.call("alice", "POST", f"{KEYS}/tokens", content=body)
        assert answer.status_code == 201, answer.text
    wide: dict[str, Any] = {
        "scope": scope,
        "scopes": [scope],
        "allow_list": [{"type": "*", "id": "*"}, "*:*"],
    }
    await _create(api, lifetime=0, token_name="", **wide)
    keys = await _listed(api)
    assert len(keys) == 5
    assert {key["lifetime_seconds"] for key in keys} == {168 * 3600}
    assert len({key["token_name"] for key in keys}) == 5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Request body must be valid JSON."),
        (b" \n", "Request body must be valid JSON."),
        (b"{", "Request body must be valid JSON."),
        (b"\xff", "Request body must be valid JSON."),
        (b"[" * 10_000, "Request body must be valid JSON."),
        (b"[]", "Validation failed."),
        (b'{"lifetime": "8h"}', "Validation failed."),
        (b'{"lifetime": 1e30}', "Validation failed."),
        (b'{"lifetime": NaN}', "Validation failed."),
        (b'{"lifetime": 9223372036854775808}', "Validation failed."),
        (b'{"token_name": 1}', "Validation failed."),
        (b'{"token_name": "a\\u0000b"}', INVALID),
        (b'{"rules": {"providers": [""]}}', INVALID),
        (b'{"rules": {"providers": []}}', "Validation failed."),
        (b'{"rules": {"providers": ["anthropic", "nope"]}}', INVALID),
        (b'{"rules": {"provider": ["openai"]}}', "Validation failed."),
    ],
)
async def test_bodies_that_are_none(api: Api, body: bytes, message: str) -> None:
    """A malformed body is a 400 in Coder's shape, which quotes nothing of it."""
    answer = await api.call("alice", "POST", f"{KEYS}/tokens", content=body)
    assert (answer.status_code, answer.json()["message"]) == (400, message)


async def test_a_misspelt_limit_makes_no_wider_token(api: Api) -> None:
    """A misspelt limit is refused, and the answer names its field but does not quote it."""
    body = {"rules": {"provider": ["openai"]}}
    answer = await api.call("alice", "POST", f"{KEYS}/tokens", json=body)
    assert (answer.status_code, len(await _listed(api))) == (400, 1)
    assert answer.json()["validations"] == [
        {"field": "rules", "detail": "Extra inputs are not permitted"}
    ]


async def test_a_body_that_is_too_long(api: Api) -> None:
    """A body of more than 64 KiB is refused before it is read whole."""
    answer = await api.call("alice", "POST", f"{KEYS}/tokens", content=b" " * 70_000)
    assert (answer.status_code, answer.json()) == (413, {"message": "Request body too large."})


async def test_an_owners_token_lives_a_week(api: Api) -> None:
    """The cap depends on the token's owner, not the caller; tokenconfig has it in nanoseconds."""
    cases = (("root", "me", 168), ("alice", "me", 876_600), ("root", "bob", 876_600))
    for who, target, hours in cases:
        config = await api.call(who, "GET", f"/users/{target}/keys/tokens/tokenconfig")
        assert config.json() == {"max_token_lifetime": hours * HOUR}
        body = {"lifetime": hours * HOUR + 1}
        refused = await api.call(who, "POST", f"/users/{target}/keys/tokens", json=body)
        assert refused.json()["detail"] == f"lifetime must be less than {hours}h0m0s"
        body = {"lifetime": hours * HOUR}
        made = await api.call(who, "POST", f"/users/{target}/keys/tokens", json=body)
        assert made.status_code == 201


async def test_no_tokens_are_null(api: Api) -> None:
    """An empty list is null, as Go writes it."""
    session, _ = await api.store.create_session(api.users["alice"])
    await api.call("alice", "DELETE", f"{KEYS}/{api.tokens['alice'][:10]}")
    api.tokens["alice"] = session
    answer = await api.call("alice", "GET", f"{KEYS}/tokens")
    assert (answer.status_code, answer.content) == (200, b"null")
    assert (await api.call("alice", "GET", f"{KEYS}/{session[:10]}")).json()["token_name"] == ""


async def test_rules_are_taken_and_shown(any_api: Api, store_url: str) -> None:
    """A token gets the rules of the request, and a limited token can't create another."""
    rules = {"providers": ["anthropic"], "modes": ["central"]}
    text = await _create(any_api, token_name="ci", rules=rules)
    token = parse(text)
    assert token is not None
    source = await open_source(store_url)
    identity = await source.verify(token)
    await source.close()
    assert isinstance(identity, Identity)
    assert identity.rules == make_rules(["anthropic"], ["centralized"])
    shown = (await any_api.call("alice", "GET", f"{KEYS}/tokens/ci")).json()["rules"]
    assert shown == {"providers": ["anthropic"], "modes": ["centralized"]}
    any_api.tokens["ci"] = text
    assert (await any_api.call("ci", "GET", "/users/me")).status_code == 200
    for method, path in (
        ("POST", f"{KEYS}/tokens"),
        ("POST", KEYS),
        ("DELETE", f"{KEYS}/{any_api.tokens['alice'][:10]}"),
        ("PUT", f"{KEYS}/{any_api.tokens['alice'][:10]}/expire"),
        ("POST", "/users/logout?everywhere=true"),
    ):
        refused = await any_api.call("ci", method, path)
        assert refused.status_code == 403, path
    assert (await any_api.call("ci", "DELETE", f"{KEYS}/{text[:10]}")).status_code == 204


async def test_a_slow_body_is_of_no_use_after_the_end(any_api: Api) -> None:
    """A call whose token ends, or user is suspended, while its body arrives has no effect."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        begun.set()
        await ended.wait()
        yield b"}"

    async def end_token() -> None:
        key = await any_api.store.find_key(any_api.users["alice"], any_api.tokens["alice"][:10])
        assert key is not None
        await any_api.store.delete_token(key)

    async def suspend() -> None:
        await any_api.store.set_status(any_api.users["bob"], "suspended")

    for who, end in (("alice", end_token), ("bob", suspend)):
        begun.clear()
        ended.clear()
        call = asyncio.create_task(any_api.call(who, "POST", f"{KEYS}/tokens", content=body()))
        await begun.wait()
        # The call's own token was looked up by then.
        await end()
        ended.set()
        assert (await call).status_code == 401
    assert all(
        key.token_name == "main" for key in await any_api.store.list_tokens(include_expired=True)
    )


async def test_who_did_it_is_written_down(api: Api) -> None:
    """The audit log names the user, their token and where they called from."""
    text = await _create(api, "root", token_name="laptop")
    entry = (await api.store.audit_entries(datetime(2000, 1, 1, tzinfo=UTC)))[-1]
    assert entry.actor.kind == "user"
    assert (entry.actor.name, entry.actor.user_id) == ("root", api.users["root"].id)
    assert entry.actor.api_key_id == api.tokens["root"][:10]
    assert entry.actor.ip == "192.0.2.7"
    assert entry.change.resource_id == text[:10]


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("PATCH", f"{KEYS}/tokens/main", 405),
        ("PUT", f"{KEYS}/tokens", 405),
        ("GET", "/users/me/keys/a/b/c", 404),
        ("GET", "/nothing", 404),
        ("GET", f"{KEYS}/tokens/a%00b", 404),
        ("GET", "/users/a%00b", 404),
        ("GET", f"{KEYS}/%F0%9F%94%91", 404),
        ("HEAD", "/users/me", 200),
        ("GET", "/users/me/", 404),
        ("POST", "/users/login/", 404),
    ],
)
async def test_other_paths_and_methods(api: Api, method: str, url: str, status: int) -> None:
    """Unknown paths and methods are refused in Coder's shape, and no answer may be cached."""
    answer = await api.call("alice", method, url)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_token_is_rotated(any_api: Api) -> None:
    """The new token has the name, and the old one ends after the overlap of an hour."""
    old = await _create(any_api, token_name="laptop", rules={"providers": ["openai"]})
    path = f"{KEYS}/{old[:10]}"
    answer = await any_api.call("alice", "POST", f"{path}/rotate", json={})
    assert answer.status_code == 201
    assert list(answer.json()) == ["key"]
    new = (await any_api.call("alice", "GET", f"{KEYS}/tokens/laptop")).json()
    assert new["id"] == answer.json()["key"][:10] != old[:10]
    kept = (await any_api.call("alice", "GET", path)).json()
    ends = datetime.fromisoformat(kept["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert ends == timedelta(hours=1)
    assert kept["token_name"] == f"laptop-old-{old[:10]}"
    again = await any_api.call("alice", "POST", f"{KEYS}/{new['id']}/rotate", json={"overlap": 0})
    assert again.status_code == 201
    ended = await any_api.call("alice", "POST", f"{KEYS}/{new['id']}/rotate", json={})
    assert (ended.status_code, ended.json()["message"]) == (400, "Failed to rotate API key.")
    assert "has ended" in ended.json()["detail"]


async def test_whose_tokens_may_be_rotated(api: Api) -> None:
    """Others' tokens are a 404 except for administrators; limited tokens and bad overlaps fail."""
    path = f"/users/bot/keys/{api.tokens['bot'][:10]}/rotate"
    assert (await api.call("alice", "POST", path, json={})).status_code == 404
    for overlap in (-1, 1.5, "1h", 2**63):
        answer = await api.call("helper", "POST", path, json={"overlap": overlap})
        assert answer.status_code == 400, overlap
    assert (await api.call("helper", "POST", path, json={})).status_code == 201
    limited = await _create(api, token_name="limited", rules={"providers": ["openai"]})
    api.tokens["limited"] = limited
    answer = await api.call("limited", "POST", f"{KEYS}/{limited[:10]}/rotate", json={})
    assert answer.status_code == 403


async def test_too_many_tokens_are_refused(api: Api) -> None:
    """The error has Coder's shape and says what to do; a reload may change the limit."""
    await api.own_store.get()
    api.own_store.use(365, 1)
    answer = await api.call("alice", "POST", f"{KEYS}/tokens", json={})
    assert answer.status_code == 400
    assert answer.json() == {
        "message": "Failed to create API key.",
        "detail": "alice has 1 valid tokens, and at most 1 are allowed: remove some, or let an"
        " administrator raise tokens.max_per_user",
    }
