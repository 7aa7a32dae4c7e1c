"""Two replicas behind one host name: Envoy tells one of them of a refused key, and both know."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from authz.identity.open import make_store
from tests.support.dns import NameServer
from tests.support.fleet import Fleet, fleet
from tests.support.pair import (
    CENTRAL_KEYS,
    OWN_CREDENTIALS,
    OWN_KEYS,
    Provider,
    stand_in,
    wait_until,
)
from tests.support.postgres import PostgresServer, running_server

NAME = "authz.test"
FIRST, SECOND = CENTRAL_KEYS["anthropic"], OWN_KEYS["anthropic"]
FURTHER = [f"sk-ant-further-{number:04d}" for number in range(24)]
"""Further keys that the stand-in accepts."""
_SERIES = 'authz_central_key_cooldown_end_seconds{key="%d",provider="anthropic",status="429"} '


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server with the identity store."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A stand-in that takes further keys."""
    with stand_in(own={*OWN_CREDENTIALS, *FURTHER}) as made:
        yield made


@pytest.fixture(scope="module")
def running(provider: Provider, postgres: PostgresServer) -> Iterator[Fleet]:
    """Two replicas behind one name, and an Envoy with one thread."""
    url = postgres.url(postgres.database())
    with contextlib.ExitStack() as stack:
        dns = stack.enter_context(NameServer())
        made = stack.enter_context(fleet(provider, 2, NAME))
        asyncio.run(make_store(url))
        made.settings["identity"] = url
        anthropic = made.settings["providers"][0]
        assert anthropic["name"] == "anthropic"
        del anthropic["key"]
        _put(made, FIRST, SECOND)
        anthropic["keys"] = [{"file": str(_file(made, place))} for place in range(2)]
        for user in ("alice", "bob"):
            made.create_user(user)
        dns.set(NAME, made.hosts)
        for number in range(2):
            made.start_replica(number, wait=False)
        made.start_envoy(dns.port, concurrency=1)
        made.wait_ready()
        provider.take()
        yield made


def _file(running: Fleet, place: int) -> Path:
    return running.folder / f"anthropic-{place}.key"


def _put(running: Fleet, *keys: str) -> None:
    for place, key in enumerate(keys):
        _file(running, place).write_text(key)


def _ask(running: Fleet, token: str, model: str = "m") -> int:
    return httpx.post(
        f"{running.url}/anthropic/v1/messages",
        headers={"x-coder-ai-governance-token": token},
        json={"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    ).status_code


def _cooldowns(running: Fleet, key: int) -> list[float]:
    """Return the end of a key's cooldown as each replica shows it."""
    found = []
    for port in running.http_ports:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        name = _SERIES % key
        (line,) = (line for line in text.splitlines() if line.startswith(name))
        found.append(float(line.removeprefix(name)))
    return found


def test_both_know_of_a_refused_key(running: Fleet) -> None:
    """Neither replica gives out a key soon after its 429, and both show the cooldown."""
    token = running.create_token("alice")
    assert [_ask(running, token) for _ in range(20)] == [200] * 20
    assert {seen.credential for seen in running.provider.take()} == {FIRST}
    assert _cooldowns(running, 0) == [0, 0]
    began = time.monotonic()
    assert _ask(running, token, "fail-429") == 429
    wait_until(lambda: all(_cooldowns(running, 0)), 30, "both replicas knowing")
    print(f"\nboth replicas knew after at most {(time.monotonic() - began) * 1000:.0f} ms")
    ends = _cooldowns(running, 0)
    # Each counts by its own clock, which is the same one here; the provider said 7 s.
    assert max(ends) - min(ends) < 5
    running.provider.take()
    # Enough for both replicas to choose, and far fewer than 7 s of them.
    assert {_ask(running, token) for _ in range(20)} == {200}
    assert {seen.credential for seen in running.provider.take()} == {SECOND}


def test_both_know_of_the_same_key(running: Fleet) -> None:
    """If all keys refuse one request, both replicas put only the first key on cooldown."""
    token = running.create_token("alice")
    # Another key in a place is on no cooldown.
    for first, second in zip(FURTHER[::2], FURTHER[1::2], strict=True):
        _put(running, first, second)
        wait_until(functools.partial(_is_used, running, token, first), 10, "the keys in use")
        assert _ask(running, token, "fail-429") == 429
        wait_until(lambda: all(_cooldowns(running, 0)), 10, "both replicas knowing")
        assert _cooldowns(running, 1) == [0, 0]
    _put(running, FIRST, SECOND)
    wait_until(functools.partial(_is_used, running, token, FIRST), 10, "the keys in use")


def _is_used(running: Fleet, token: str, key: str) -> bool:
    """Return whether both replicas give out the key, and show no cooldown."""
    running.provider.take()
    assert _ask(running, token) == 200
    is_given = [seen.credential for seen in running.provider.take()] == [key]
    return is_given and not any(_cooldowns(running, 0) + _cooldowns(running, 1))


def test_the_last_key_needs_two_people(running: Fleet) -> None:
    """One person can't take the last key from any replica; a second one takes it from both."""
    alice, bob = running.create_token("alice"), running.create_token("bob")
    wait_until(lambda: _ask(running, alice, "fail-429") == 429 and all(_cooldowns(running, 0)))
    assert {_ask(running, alice, "fail-429") for _ in range(10)} == {429}
    assert _cooldowns(running, 1) == [0, 0]
    assert _ask(running, bob) == 200
    running.provider.take()
    _ask(running, bob, "fail-429")
    wait_until(lambda: all(_cooldowns(running, 1)), 30, "the last key resting at both replicas")
    log = running.stderr
    for key in (FIRST, SECOND):
        assert key not in log
    assert "told_by_another_process" in log


def test_the_database_away(running: Fleet, postgres: PostgresServer) -> None:
    """Without PostgreSQL checks don't wait for shared refusals, and sharing resumes by itself."""
    lost, again = "refused keys are not shared", "refused keys are shared again"
    # On a busy machine a notification may have been late before.
    wait_until(lambda: running.stderr.count(lost) == running.stderr.count(again), 30, "sharing")
    before = running.stderr.count(again)
    postgres.stop()
    try:
        wait_until(lambda: running.stderr.count(lost) > before, 30, "the log's line")
    finally:
        postgres.start()
    wait_until(lambda: running.stderr.count(again) == before + 2, 60, "sharing")
