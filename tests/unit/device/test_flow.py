"""The device flow as Claude Code uses it, over two replicas and on both stores."""

import asyncio
import contextlib
import hashlib
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from authz.core.device import read_user_code
from authz.core.tokens import parse
from authz.identity.store_devices import DeviceStore, TooManyCodes
from authz.identity.store_links import Subject
from authz.identity.store_sessions import Authenticated
from tests.unit.device.conftest import ORIGIN, SETTINGS, Flow


def _error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


async def _owner(flow: Flow, token: str) -> str | None:
    parsed = parse(token)
    result = await flow.store.authenticate(parsed) if parsed else None
    return result.user.username if isinstance(result, Authenticated) else None


async def _token(flow: Flow, body: dict[str, Any]) -> Any:
    key = await flow.store.find_token(body["access_token"])
    assert key is not None
    return key


async def test_sign_in_over_two_replicas(flow: Flow) -> None:
    """A code is approved at the other replica, and gives a limited token with the user's email."""
    begun = await flow.begin(0)
    assert begun["verification_uri"] == f"{ORIGIN}/ui/device"
    assert begun["verification_uri_complete"].endswith(begun["user_code"])
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert len(begun["device_code"]) >= 43
    assert _error(await flow.poll(begun, 1)) == (400, "authorization_pending")
    await flow.decide(begun, browser=await flow.browser(replica=1))
    answer = await flow.poll(begun, 0)
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert body["email"] == "alice@example.com"
    key = await _token(flow, body)
    assert key.username == "alice"
    assert key.token_name.startswith("claude-code on 127.0.0.1 ")
    assert key.rules.as_json() == {"providers": ["anthropic"]}
    assert _error(await flow.poll(begun, 1)) == (400, "invalid_grant")


async def test_polls_at_once_get_one_token(flow: Flow) -> None:
    """Of several polls at once for an approved code, one gets the token."""
    begun = await flow.begin()
    await flow.decide(begun)
    await flow.store._database.execute("UPDATE device_codes SET polled_at = NULL")
    answers = await asyncio.gather(*(flow.again(begun, turn % 2) for turn in range(4)))
    assert [answer.status_code for answer in answers].count(200) == 1


async def test_metadata_has_the_origin_that_was_asked(flow: Flow) -> None:
    """The endpoints in the metadata have the origin and the base that the client asked."""
    for path, base in (("", ""), ("/other", "/other")):
        found = await flow.programs[0].get(f"/.well-known/oauth-authorization-server{path}")
        body = found.json()
        assert body["token_endpoint"] == f"{ORIGIN}{base}/oauth/token"
        where = f"{ORIGIN}{base}/oauth/device_authorization"
        assert body["device_authorization_endpoint"] == where
    headers = {"host": "evil.test/x?"}
    url = "/.well-known/oauth-authorization-server"
    assert (await flow.programs[0].get(url, headers=headers)).status_code == 400


async def test_below_a_provider(flow: Flow) -> None:
    """A sign-in below a provider's base is limited to this provider; an unknown one is a 404."""
    begun = await flow.begin(path="/other")
    await flow.decide(begun)
    key = await _token(flow, (await flow.poll(begun)).json())
    assert key.rules.as_json() == {"providers": ["other"]}
    refused = await flow.programs[0].post("/oauth/device_authorization/nobody", data={"a": "b"})
    assert refused.status_code == 404


async def test_polling_too_fast(flow: Flow) -> None:
    """A poll within the interval is told to slow down, on another replica too, and waits longer."""
    begun = await flow.begin()
    await flow.poll(begun, 0)
    assert _error(await flow.again(begun, 1)) == (400, "slow_down")
    rows = await flow.store._database.fetch("SELECT interval_seconds FROM device_codes")
    assert rows[0]["interval_seconds"] == 10


async def test_denied(flow: Flow) -> None:
    """A denied code gets no token, and can't be approved afterwards."""
    begun = await flow.begin()
    assert "Denied" in (await flow.decide(begun, "deny")).text
    browser = await flow.browser()
    await browser.post("/ui/device", code=begun["user_code"])
    assert browser.last.status_code == 404
    assert _error(await flow.poll(begun)) == (400, "access_denied")


async def test_expired(flow: Flow) -> None:
    """An expired code gets no token and can't be approved."""
    begun = await flow.begin()
    rows = await flow.store._database.fetch("SELECT created_at FROM device_codes")
    await flow.store._database.execute(
        "UPDATE device_codes SET expires_at = $1", rows[0]["created_at"] - timedelta(seconds=1)
    )
    browser = await flow.browser()
    await browser.post("/ui/device", code=begun["user_code"])
    assert browser.last.status_code == 404
    assert _error(await flow.poll(begun)) == (400, "expired_token")


async def test_a_link_approves_nothing(flow: Flow) -> None:
    """Opening the link with the code fills the field and leaves the code pending."""
    begun = await flow.begin()
    browser = await flow.browser()
    page = await browser.get(begun["verification_uri_complete"].removeprefix(ORIGIN))
    assert page.one("input", name="code").attributes["value"] == begun["user_code"]
    assert _error(await flow.poll(begun)) == (400, "authorization_pending")


async def test_sign_in_first(flow: Flow) -> None:
    """A browser without a session is sent to sign in, and then back to the page with the code."""
    begun = await flow.begin()
    transport = httpx.ASGITransport(flow.apps[0])
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        answer = await client.get(begun["verification_uri_complete"])
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/ui/sign-in?next=/ui/device/{begun['user_code']}"


@pytest.mark.parametrize("page_path", ["/ui/device", "/ui/device/decide"])
async def test_foreign_form(flow: Flow, page_path: str) -> None:
    """A form without the CSRF token, or of another site, is refused and approves nothing."""
    begun = await flow.begin()
    browser = await flow.browser()
    fields = {"code": begun["user_code"], "decision": "approve"}
    await browser.post(page_path, "0" * 64, **fields)
    assert browser.last.status_code == 403
    page = await browser.get("/ui/device")
    foreign = await browser.client.post(
        page_path, data={"csrf": page.csrf, **fields}, headers={"origin": "https://evil.test"}
    )
    assert foreign.status_code == 403
    assert _error(await flow.poll(begun)) == (400, "authorization_pending")


async def test_guessing_codes(flow: Flow) -> None:
    """After ten wrong codes an address is refused, also at the other replica with a right code."""
    begun = await flow.begin()
    browser = await flow.browser()
    for _ in range(10):
        await browser.post("/ui/device", code="BCDF-GHJK")
        assert browser.last.status_code == 404
    other = await flow.browser("bob", replica=1)
    await other.post("/ui/device", code=begun["user_code"])
    assert other.last.status_code == 429
    elsewhere = await flow.browser(ip="198.51.100.4")
    assert (await flow.decide(begun, browser=elsewhere)).status_code == 200


async def test_guessing_at_once(flow: Flow) -> None:
    """Many guesses at once learn no more than ten; a right code is refused then as well."""
    begun = await flow.begin()
    code = read_user_code(begun["user_code"])
    assert code is not None
    devices = flow.store.part(DeviceStore)

    async def guess() -> bool:
        with contextlib.suppress(TooManyCodes):
            return await devices.find_device_request("BCDFGHJK", "192.0.2.9") is None
        return False

    learnt = sum(await asyncio.gather(*(guess() for _ in range(30))))
    assert learnt <= 10
    for _ in range(10 - learnt):
        assert await guess()
    with pytest.raises(TooManyCodes):
        await devices.find_device_request(code, "192.0.2.9")
    assert await devices.find_device_request(code, "192.0.2.10") is not None


async def test_session_of_a_linked_user(flow: Flow) -> None:
    """A session that a device got for a user of an identity provider ends when unlinked."""
    alice = await flow.store.get_user("alice")
    await flow.store.link_user(alice, Subject("https://idp.test", "1"))
    begun = await flow.begin(client_id="authz")
    await flow.decide(begun)
    token = (await flow.poll(begun)).json()["access_token"]
    assert await _owner(flow, token) == "alice"
    await flow.store.unlink_user(alice)
    assert await _owner(flow, token) is None


async def test_asking_for_codes(flow: Flow) -> None:
    """An address can't ask for codes without end, over all replicas."""
    for turn in range(30):
        await flow.begin(turn % 2)
    answer = await flow.programs[1].post("/oauth/device_authorization", data={"a": "b"})
    assert _error(answer) == (429, "slow_down")


async def test_refresh_rotates(flow: Flow) -> None:
    """A refresh gives a new pair at once valid; the old access token is dead with it."""
    first = await flow.signed_in()
    answer = await flow.refresh(first["refresh_token"], 1)
    second = answer.json()
    assert answer.status_code == 200
    assert second["expires_in"] in (3599, 3600)
    assert await _owner(flow, first["access_token"]) is None
    assert await _owner(flow, second["access_token"]) == "alice"
    third = (await flow.refresh(second["refresh_token"])).json()
    assert len({body["refresh_token"] for body in (first, second, third)}) == 3


async def test_a_lost_answer(flow: Flow) -> None:
    """The token that was just used gets the same answer again: an answer may get lost."""
    first = await flow.signed_in()
    answers = await asyncio.gather(*(flow.refresh(first["refresh_token"], n % 2) for n in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    pairs = {(a.json()["access_token"], a.json()["refresh_token"]) for a in answers}
    assert len(pairs) == 1
    assert await _owner(flow, answers[0].json()["access_token"]) == "alice"


@pytest.mark.parametrize("rotations", [1, 2])
async def test_replayed_refresh_token(flow: Flow, rotations: int) -> None:
    """A refresh token that was replaced before ends the sign-in, with its access token."""
    first = last = await flow.signed_in()
    for _ in range(rotations):
        last = (await flow.refresh(last["refresh_token"])).json()
    if rotations == 1:
        await flow.later(timedelta(minutes=11))
    assert _error(await flow.refresh(first["refresh_token"], 1)) == (401, "invalid_grant")
    assert await _owner(flow, last["access_token"]) is None
    assert _error(await flow.refresh(last["refresh_token"])) == (401, "invalid_grant")


async def test_invented_refresh_token(flow: Flow) -> None:
    """A refresh token with a known id and an invented rest is refused and ends nothing."""
    body = await flow.signed_in()
    token_id = body["access_token"].partition("-")[0]
    for text in (f"{token_id}.{'A' * 22}.{'B' * 22}", "x", "a.b.c", body["access_token"]):
        assert _error(await flow.refresh(text)) == (401, "invalid_grant")
    assert await _owner(flow, body["access_token"]) == "alice"


@pytest.mark.parametrize("how", ["delete", "expire", "suspend", "remove user", "revoke"])
async def test_ended_sign_in(flow: Flow, how: str) -> None:
    """After the token or its user is gone, the access token is dead and nothing renews it."""
    body = await flow.signed_in()
    user = await flow.store.get_user("alice")
    if how == "delete":
        await flow.store.delete_token(await _token(flow, body))
    elif how == "expire":
        await flow.store.expire_token(await _token(flow, body))
    elif how == "suspend":
        await flow.store.set_status(user, "suspended")
    elif how == "remove user":
        await flow.store.delete_user(user)
    else:
        form = {"token": body["refresh_token"], "token_type_hint": "refresh_token"}
        assert (await flow.programs[1].post("/oauth/revoke", data=form)).status_code == 200
    assert await _owner(flow, body["access_token"]) is None
    assert _error(await flow.refresh(body["refresh_token"])) == (401, "invalid_grant")


async def test_old_sign_in(flow: Flow) -> None:
    """After 30 days a person has to sign in again."""
    body = await flow.signed_in()
    rows = await flow.store._database.fetch("SELECT created_at FROM refresh_tokens")
    await flow.store._database.execute(
        "UPDATE refresh_tokens SET created_at = $1", rows[0]["created_at"] - timedelta(days=30)
    )
    assert _error(await flow.refresh(body["refresh_token"])) == (401, "invalid_grant")


async def test_session_for_the_command_line(flow: Flow) -> None:
    """``authz login --device`` gets a session without a refresh token; the page says what it is."""
    begun = await flow.begin(client_id="authz")
    browser = await flow.browser()
    await browser.post("/ui/device", code=begun["user_code"].lower().replace("-", " "))
    assert "all your rights" in browser.last.text
    await flow.decide(begun, browser=browser)
    body = (await flow.poll(begun)).json()
    assert "refresh_token" not in body
    key = await _token(flow, body)
    assert (key.login_type, key.rules.as_json()) == ("password", {})


async def test_managed_settings(flow: Flow) -> None:
    """A user gets their group's settings in Claude Code's wrapper, and 304 for its checksum."""
    token = (await flow.signed_in())["access_token"]
    answer = await flow.bearer("/managed/settings", token)
    body = answer.json()
    assert body["settings"] == SETTINGS["managed_settings"][0]["settings"]
    text = json.dumps(body["settings"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert body["checksum"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    tag = answer.headers["etag"]
    assert tag == f'"{body["checksum"]}"'
    again = await flow.bearer("/managed/settings", token, **{"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")


async def test_no_settings_is_not_empty_settings(flow: Flow) -> None:
    """A user without settings gets a 404; one with empty settings gets a 200."""
    bob = await flow.store.get_user("bob")
    token, _ = await flow.store.create_token(bob)
    assert (await flow.bearer("/managed/settings", token)).status_code == 404
    await flow.store.add_members(await flow.store.create_group("visitors"), [bob])
    answer = await flow.bearer("/managed/settings", token)
    assert (answer.status_code, answer.json()["settings"]) == (200, {})


async def test_models(flow: Flow) -> None:
    """The list of models has Anthropic's form."""
    token = (await flow.signed_in())["access_token"]
    assert (await flow.bearer("/v1/models", token)).json() == {
        "data": [
            {"id": "claude-sonnet-4-5", "display_name": "Sonnet"},
            {"id": "claude-opus-4", "display_name": "claude-opus-4"},
        ]
    }


@pytest.mark.parametrize("asked", ["/managed/settings", "/v1/models"])
async def test_without_a_valid_token(flow: Flow, asked: str) -> None:
    """Without a valid Bearer token the answer is Anthropic's 401, which is not tried again."""
    for token in ("", "x", f"{'a' * 10}-{'b' * 22}"):
        answer = await flow.bearer(asked, token)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.headers["x-should-retry"] == "false"
