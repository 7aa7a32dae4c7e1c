"""Clients don't notice a central key that is refused with 429; run by ``make test-clients``."""

from collections.abc import Iterator

import pytest

from tests.clients.cases import ANSWER
from tests.clients.headless import claude_lines, codex_lines, installed, run_at
from tests.support.pair import CENTRAL_KEYS, Pair, pair, stand_in

pytestmark = pytest.mark.timeout(1200)
LIMITED = {"anthropic": "sk-ant-limited-0f3a9b7c5d1e", "openai": "sk-limited-0f3a9b7c5d1e"}
PATHS = {"anthropic": "/messages", "openai": "/responses"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Pair]:
    """A pair whose providers have a key that is limited before the one that works."""
    refused = dict.fromkeys(LIMITED.values(), 429)
    with stand_in(refused=refused) as provider, pair(provider, start=False) as running:
        for one in running.settings["providers"]:
            if one["name"] in LIMITED:
                file = running.folder / f"{one['name']}-limited.key"
                file.write_text(LIMITED[one["name"]])
                one["keys"] = [{"file": str(file)}, one.pop("key")]
        running.start()
        running.create_user("alice")
        yield running


@pytest.mark.parametrize(("client", "kind"), [("claude-code", "anthropic"), ("codex", "openai")])
def test_a_client_sees_no_refusal(gateway: Pair, client: str, kind: str) -> None:
    """A client without retries of its own gets its answer, made with the second key."""
    lines = (
        claude_lines(f"{gateway.url}/anthropic", CLAUDE_CODE_MAX_RETRIES="0")
        if client == "claude-code"
        else codex_lines(f"{gateway.url}/openai/v1", sockets=False, request_max_retries="0")
    )
    there = installed(client)
    gateway.provider.take()
    ran = run_at(gateway, client, lines, there, gateway.create_token("alice"))
    print(ran)
    assert ran.status == 0, ran
    assert ANSWER in ran.output, ran
    assert "429" not in ran.output + ran.errors, ran
    seen = [one.credential for one in gateway.provider.take() if one.path.endswith(PATHS[kind])]
    assert seen[:2] == [LIMITED[kind], CENTRAL_KEYS[kind]]
    # It rests since then.
    assert LIMITED[kind] not in seen[1:]
