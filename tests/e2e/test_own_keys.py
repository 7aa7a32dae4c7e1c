"""A stored provider key behind a real Envoy, with a provider that refuses wrong keys."""

import base64
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair, Provider, pair, wait_until

CENTRAL, OWN = CENTRAL_KEYS["anthropic"], OWN_KEYS["anthropic"]
WRONG = "sk-ant-revoked-0f3a9b7c5d1e"
FIRST, SECOND = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
def running(provider: Provider) -> Iterator[Pair]:
    """A pair with a master key, and alice and bob."""
    with pair(provider, start=False, log={"access": "json"}) as made:
        (made.folder / "master.key").write_text(FIRST)
        made.settings["own_keys"] = {"keys": [{"file": str(made.folder / "master.key")}]}
        made.start()
        made.create_user("alice")
        made.create_user("bob")
        provider.take()
        yield made


def _ask(running: Pair, token: str, **headers: str) -> int:
    return httpx.post(
        f"{running.url}/anthropic/v1/messages",
        headers={"x-api-key": token, **headers},
        json={"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    ).status_code


def _set(running: Pair, user: str, key: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "authz", "own-keys", "set", "anthropic", "--user", user],
        cwd=running.folder,
        input=key,
        text=True,
        check=True,
        capture_output=True,
    )


def test_a_stored_key(running: Pair) -> None:
    """Each request is sent with the key stored at that time, and no log has a key."""
    token, other = running.create_token("alice"), running.create_token("bob")

    def used() -> str | None:
        (seen,) = running.provider.take()
        assert token not in str(seen.headers)
        return seen.credential

    assert _ask(running, token) == 200
    assert used() == CENTRAL
    _set(running, "alice", OWN)
    assert _ask(running, token) == 200
    assert used() == OWN
    assert _ask(running, other) == 200
    assert used() == CENTRAL
    _set(running, "alice", WRONG)
    assert _ask(running, token) == 401
    assert used() == WRONG
    governance = {"x-coder-ai-governance-token": token}
    assert _ask(running, OWN, **governance) == 200
    assert used() == OWN
    (running.folder / "master.key").write_text(SECOND)
    _set(running, "bob", OWN)
    assert _ask(running, other) == 200
    assert used() == OWN
    (running.folder / "master.key").unlink()
    assert running.command("own-keys", "remove", "anthropic", "--user", "alice").returncode == 0
    assert _ask(running, token) == 200
    assert used() == CENTRAL
    wait_until(lambda: running.stdout.count('"mode":"byok"') == 4, what="four byok requests")
    for text in (running.stdout, running.stderr):
        for secret in (OWN, WRONG, FIRST, SECOND, token):
            assert secret not in text


def test_a_wrong_master_key(running: Pair) -> None:
    """After a restart with another master key, alice gets a 503 and bob is served."""
    token, other = running.create_token("alice"), running.create_token("bob")
    _set(running, "alice", OWN)
    running.stop()
    (running.folder / "master.key").write_text(SECOND)
    running.start()
    assert [_ask(running, token), _ask(running, other)] == [503, 200]
    (seen,) = running.provider.take()
    assert seen.credential == CENTRAL
    assert "own_keys.keys" in running.stderr
    (running.folder / "master.key").write_text(FIRST)
    assert _ask(running, token) == 200
    (seen,) = running.provider.take()
    assert seen.credential == OWN
    wait_until(lambda: '"mode":"byok"' in running.stdout, what="the line of the last request")
    assert OWN not in running.stdout


def test_explain_says_what_the_gateway_answers(running: Pair) -> None:
    """A group that allows only the company's keys refuses a stored key, and both texts say why."""
    token = running.create_token("alice")
    _set(running, "alice", OWN)
    running.command("groups", "create", "labs")
    running.command("groups", "rules", "labs", "--mode", "central")
    running.command("groups", "add", "labs", "alice")
    refused = httpx.post(f"{running.url}/anthropic/v1/messages", headers={"x-api-key": token})
    line = ("explain", "--user", "alice", "--provider", "anthropic")
    explained = running.command(*line, check=False)
    cure = "authz own-keys remove anthropic --user alice"
    assert (refused.status_code, explained.returncode) == (403, 1)
    assert cure in refused.json()["error"]["message"]
    assert cure in explained.stdout
    running.command(*cure.split()[1:])
    assert _ask(running, token) == 200
    assert running.command(*line, check=False).returncode == 0
    running.provider.take()
