"""Groups on SQLite and on PostgreSQL: rules apply at once, and usage names groups."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from authz.core.rules import make_rules
from authz.identity.open import make_store, open_store
from authz.identity.store import Store
from tests.support.pair import Pair, Provider, pair, wait_until
from tests.support.postgres import running_server

_ODD = 'CN=a,"ü" \\ b'


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A pair with alice in the group labs."""
    provider: Provider = request.getfixturevalue("provider")
    if request.param == "sqlite":
        with pair(provider) as running:
            yield _with_alice(running)
        return
    with running_server() as server:
        url = server.url(server.database())
        asyncio.run(make_store(url))
        with pair(provider, identity=url) as running:
            yield _with_alice(running)


def _with_alice(running: Pair) -> Pair:
    running.command("users", "create", "alice")
    running.command("groups", "create", "labs")
    running.command("groups", "add", "labs", "alice")
    return running


@asynccontextmanager
async def _store(gateway: Pair) -> AsyncIterator[Store]:
    # A file is named relative to the folder of the pair.
    url = gateway.identity.replace("sqlite:///.", f"sqlite:///{gateway.folder}")
    store = await open_store(url, create=False)
    try:
        yield store
    finally:
        await store.close()


def _post(gateway: Pair, token: str) -> httpx.Response:
    body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    url = f"{gateway.url}/anthropic/v1/messages"
    return httpx.post(url, headers={"x-api-key": token}, json=body)


async def test_rules_of_a_group_count_with_the_next_request(gateway: Pair) -> None:
    """The next request follows a rule changed by a command, and each of many store changes."""
    async with _store(gateway) as store:
        token, _ = await store.create_token(await store.get_user("alice"))
    assert _post(gateway, token).status_code == 200
    gateway.command("groups", "rules", "labs", "--provider", "openai")
    refused = _post(gateway, token)
    assert refused.status_code == 403
    assert 'your group "labs" is limited to openai' in refused.json()["error"]["message"]
    gateway.command("groups", "remove", "labs", "alice")
    assert _post(gateway, token).status_code == 200
    async with _store(gateway) as store:
        labs, alice = await store.get_group("labs"), await store.get_user("alice")
        for _ in range(10):
            await store.add_members(labs, [alice])
            assert _post(gateway, token).status_code == 403
            await store.change_group(labs, rules=make_rules(["anthropic"]))
            assert _post(gateway, token).status_code == 200
            await store.change_group(labs, rules=make_rules(None, ["byok"]))
            assert "company's own key" in _post(gateway, token).json()["error"]["message"]
            await store.remove_members(labs, [alice])
            assert _post(gateway, token).status_code == 200
        await store.add_members(labs, [alice])
        assert _post(gateway, token).status_code == 403
        await store.delete_group(labs)
        assert _post(gateway, token).status_code == 200


async def test_usage_names_the_groups_of_the_time(gateway: Pair) -> None:
    """Log and rows have the groups at the time of the request, even if a group is deleted later."""
    async with _store(gateway) as store:
        bob = await store.create_user("bob")
        token, _ = await store.create_token(bob)
        await store.sync_groups(bob, "https://idp.example.com", ["old", _ODD])
        assert _post(gateway, token).status_code == 200
        await store.delete_group(await store.get_group("old"))
        await store.sync_groups(bob, "https://idp.example.com", [])
        assert _post(gateway, token).status_code == 200

    def lines(*options: str) -> dict[str, int]:
        done = gateway.command("usage", *options, "-o", "json")
        return {line[options[1]]: line["requests"] for line in json.loads(done.stdout)}

    wait_until(lambda: lines("--by", "user").get("bob") == 2, 60, "both requests having a row")
    by_group = lines("--by", "group")
    assert (by_group["old"], by_group[_ODD]) == (1, 1)
    assert lines("--by", "user", "--group", "OLD") == {"bob": 1}

    def logged() -> list[list[str] | None]:
        entries = [json.loads(text) for text in gateway.stdout.splitlines() if text[:1] == "{"]
        return [entry["groups"] for entry in entries if entry.get("user") == "bob"]

    # Envoy writes its lines apart from its records.
    wait_until(lambda: len(logged()) == 2, what="both lines")
    assert logged() == [[_ODD, "old"], None]
