"""Stored provider keys in the token API and on the page, and which users may change them."""

import base64

import pytest
from structlog.testing import capture_logs

from authz.config.key_reference import KeyReference
from authz.core.rules import make_rules
from authz.own_keys.keyring import Keyring
from authz.own_keys.store import OwnKeyStore
from authz.web.api.call import Services

from .conftest import Api

KEY = "sk-ant-own-5d1e0f3a9b7c"
PATH = "/users/me/own-keys"


@pytest.fixture(autouse=True)
def keyring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the API a master key; a test may ask for none or a wrong one."""
    text = getattr(request, "param", base64.b64encode(b"1" * 32).decode())
    ring = None if text is None else Keyring([KeyReference(env="K")], {"K": text})
    init = Services.__init__

    def with_ring(self: Services, *args: object, **named: object) -> None:
        init(self, *args, **{**named, "keyring": lambda: ring})  # type: ignore[arg-type]

    monkeypatch.setattr(Services, "__init__", with_ring)


async def test_a_key_from_its_beginning_to_its_end(any_api: Api) -> None:
    """A user stores, lists, replaces and deletes a key; no answer shows it."""
    for _ in range(2):
        stored = await any_api.call("alice", "PUT", f"{PATH}/anthropic", json={"key": KEY})
        assert stored.status_code == 200, stored.text
        assert KEY not in stored.text
    listed = (await any_api.call("alice", "GET", PATH)).json()
    assert [(one["provider"], one["hint"]) for one in listed] == [("anthropic", "...9b7c")]
    assert (await any_api.call("alice", "DELETE", f"{PATH}/anthropic")).status_code == 204
    for provider in ("anthropic", "%00", "a%2Fb", "x" * 300, "%ff"):
        gone = await any_api.call("alice", "DELETE", f"{PATH}/{provider}")
        assert gone.status_code == 404, provider
    assert (await any_api.call("alice", "GET", PATH)).json() == []


@pytest.mark.parametrize(
    ("who", "whose", "status"),
    [
        (None, "alice", 401),
        ("bob", "alice", 404),
        ("helper", "alice", 404),
        ("alice", "root", 404),
        ("helper", "bot", 200),
        ("root", "alice", 200),
    ],
)
async def test_rights(api: Api, who: str | None, whose: str, status: int) -> None:
    """Only callers who may use a user's tokens can see, store or delete the user's keys."""
    ring = Keyring([KeyReference(env="K")], {"K": base64.b64encode(b"1" * 32).decode()})
    from authz.secret import Secret

    store = api.store.part(OwnKeyStore)
    await store.set_key(api.users[whose], "anthropic", Secret(KEY), ring.newest)
    path = f"/users/{api.users[whose].id}/own-keys"
    for method, place, good in (
        ("GET", path, 200),
        ("PUT", f"{path}/anthropic", 200),
        ("DELETE", f"{path}/anthropic", 204),
    ):
        options = {"json": {"key": "sk-other"}} if method == "PUT" else {}
        response = await api.call(who, method, place, **options)
        assert response.status_code == (good if status == 200 else status), (method, response.text)
        assert KEY not in response.text
    left = await store.list_keys(api.users[whose])
    assert [one.hint for one in left] == ([] if status == 200 else ["...9b7c"])


async def test_a_limited_token_changes_no_key(api: Api) -> None:
    """A limited token can list its owner's keys, but not store or delete one."""
    text, _ = await api.store.create_token(
        api.users["alice"], "limited", rules=make_rules(["openai"])
    )
    api.tokens["limited"] = text
    put = await api.call("limited", "PUT", f"{PATH}/openai", json={"key": KEY})
    delete = await api.call("limited", "DELETE", f"{PATH}/openai")
    assert [put.status_code, delete.status_code] == [403, 403]
    assert (await api.call("limited", "GET", PATH)).status_code == 200


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("anthropic", {"key": "Abcdefghi1-Abcdefghijklmnopqrstu2"}),
        ("anthropic", {"key": "two words"}),
        ("anthropic", {"key": ""}),
        ("anthropic", {"key": 7}),
        ("anthropic", {}),
        ("other", {"key": KEY}),
    ],
)
async def test_what_can_not_be_stored(api: Api, provider: str, body: dict[str, object]) -> None:
    """A refusal is a 400 that does not quote the text."""
    refused = await api.call("alice", "PUT", f"{PATH}/{provider}", json=body)
    assert refused.status_code == 400, refused.text
    assert not body.get("key") or str(body["key"]) not in refused.text.replace("57", "")


@pytest.mark.parametrize("keyring", [None], indirect=True)
async def test_stored_keys_are_off(api: Api) -> None:
    """Without own_keys the calls are a 404 that names the setting."""
    for method, path in (("GET", PATH), ("DELETE", f"{PATH}/anthropic")):
        response = await api.call("alice", method, path)
        assert response.status_code == 404
        assert "own_keys" in response.text


@pytest.mark.parametrize("keyring", ["wrong"], indirect=True)
async def test_a_wrong_master_key(api: Api) -> None:
    """Storing a key is a 503 without a usable master key."""
    with capture_logs() as logs:
        refused = await api.call("alice", "PUT", f"{PATH}/anthropic", json={"key": KEY})
    assert refused.status_code == 503
    assert "own_keys.keys[0]" in str(logs)
    assert KEY not in str(logs)
