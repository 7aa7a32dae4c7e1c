"""Several workers on one machine: all serve checks, share knowledge, and are replaced."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.load import Load
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair, Provider, pair, wait_until
from tests.support.parts import parts
from tests.support.processes import running_in

WORKERS = 3
WRONG = "sk-revoked-0f3a9b7c5d1e"


@pytest.fixture(scope="module")
def gateway_with_workers(provider: Provider) -> Iterator[Pair]:
    """A pair whose openai provider has a pool of two keys, the first of them refused."""
    with pair(provider, start=False) as running:
        openai = running.settings["providers"][1]
        del openai["key"]
        openai["keys"] = []
        for index, key in enumerate((WRONG, CENTRAL_KEYS["openai"])):
            file = running.folder / f"{index}.key"
            file.write_text(key)
            openai["keys"].append({"file": str(file)})
        running.settings["authz"]["workers"] = WORKERS
        running.start()
        running.create_user("alice")
        # The first one is enough to be up; the others follow.
        wait_until(lambda: running.stderr.count("authz serves") == WORKERS, 20, "every worker")
        yield running


def _worker(gateway: Pair, index: int) -> int | None:
    """Return the process id of a worker."""
    for pid, command in running_in(gateway.folder).items():
        if f"--worker-index {index} " in command:
            return pid
    return None


def _ask(gateway: Pair, token: str, provider: str = "anthropic") -> int:
    # A connection each, so that every thread of Envoy's has some.
    return httpx.get(
        f"{gateway.url}/{provider}/v1/models", headers={"x-api-key": token}
    ).status_code


def test_every_worker_knows_of_a_refused_key(gateway_with_workers: Pair) -> None:
    """One request gets the refused key, and afterwards no worker gives that key out."""
    token = gateway_with_workers.create_token("alice")
    assert _ask(gateway_with_workers, token, "openai") == 200

    def told() -> bool:
        return gateway_with_workers.stderr.count("central key on cooldown") == WORKERS

    wait_until(told, what="every worker being told")
    assert [_ask(gateway_with_workers, token, "openai") for _ in range(30)] == [200] * 30


def test_each_has_checks_and_metrics_add_up(gateway_with_workers: Pair) -> None:
    """`/metrics` is the sum over the workers within a second, whichever of them answers."""
    token = gateway_with_workers.create_token("alice")
    # No test before this one asks for this provider, so no count of one is still on its way.
    name = 'authz_checks_total{decision="allow",mode="centralized",provider="anthropic",reason=""}'

    def count() -> float:
        text = httpx.get(f"http://127.0.0.1:{gateway_with_workers.http_port}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = count()
    assert {_ask(gateway_with_workers, token) for _ in range(30)} == {200}
    wait_until(lambda: count() == before + 30, what="every worker's counts")
    assert {count() for _ in range(5)} == {before + 30}


def test_a_worker_that_dies_is_replaced(gateway_with_workers: Pair) -> None:
    """A worker killed under load fails no request, and another one replaces it."""
    token = gateway_with_workers.create_token("alice")
    victim = _worker(gateway_with_workers, 1)
    assert victim is not None
    served = gateway_with_workers.stderr.count("authz serves")
    with Load(gateway_with_workers.port, {token: 200}).running() as load:
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: gateway_with_workers.stderr.count("authz serves") > served, 20, "a successor"
        )
        load.more(100)
    assert load.failed == {}
    assert _worker(gateway_with_workers, 1) not in (None, victim)


def test_a_reload_while_a_worker_starts(provider: Provider) -> None:
    """Signals for a reload do not end a worker that is starting, and it has the new settings."""
    with parts(provider, start=False) as running:
        running.settings["authz"]["workers"] = 2
        running.start()
        assert running.authz is not None
        wait_until(lambda: running.stderr.count("authz serves") == 2, 20, "every worker")
        victim, logged = _worker(running, 1), len(running.stderr)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: _worker(running, 1) not in (None, victim), what="another worker")
        changed = yaml.safe_dump(running.settings | {"allow_byok": False})
        (running.folder / "gateway.yaml").write_text(changed)
        while "authz serves" not in running.stderr[logged:]:
            running.authz.send_signal(signal.SIGHUP)
            assert running.stderr[logged:].count("worker ended") <= 1
            time.sleep(0.02)
        token = running.create_token("alice")
        own = {"x-coder-ai-governance-token": token, "x-api-key": OWN_KEYS["anthropic"]}
        url = f"{running.url}/anthropic/v1/models"
        wait_until(lambda: httpx.get(url, headers=own).status_code == 403, 10, "the reload")
        assert {httpx.get(url, headers=own).status_code for _ in range(30)} == {403}
        assert running.stderr[logged:].count("worker ended") == 1


def test_a_delete_counts_for_every_worker(gateway_with_workers: Pair) -> None:
    """The next request after a delete is refused, whichever worker is asked."""
    token = gateway_with_workers.create_token("alice")
    assert _ask(gateway_with_workers, token) == 200
    gateway_with_workers.delete_token(token)
    assert {_ask(gateway_with_workers, token) for _ in range(20)} == {401}


def test_the_sockets_are_private(gateway_with_workers: Pair) -> None:
    """The sockets have mode 0600, since a process that can connect could ask for provider keys."""
    sockets = sorted(Path(gateway_with_workers.folder).glob("authz*.sock"))
    assert [one.name for one in sockets] == [
        "authz-1.sock",
        "authz-2.sock",
        "authz-http.sock",
        "authz.sock",
    ]
    assert {one.stat().st_mode & 0o777 for one in sockets} == {0o600}
