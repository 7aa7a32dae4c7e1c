"""Central keys that a command prints, behind a real Envoy and two workers."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.pair import CENTRAL_KEYS, Pair, Provider, _environment, pair, wait_until
from tests.support.processes import running_in

WRONG, GOOD = "sk-ant-revoked-0f3a9b7c5d1e", CENTRAL_KEYS["anthropic"]
ON_STDERR = "sk-ant-on-standard-error"
_SCRIPT = f"echo run >> runs; echo {ON_STDERR} >&2; cat vault"


def _use(made: Pair) -> None:
    """Let the first provider get its key from the file ``vault``, by a command."""
    anthropic = made.settings["providers"][0]
    assert anthropic["name"] == "anthropic"
    anthropic["key"] = {"exec": ["sh", "-c", _SCRIPT], "refresh": "1h"}


def _runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[Pair]:
    """A pair with two workers whose first provider has a command."""
    with pair(provider, start=False) as made:
        _use(made)
        (made.folder / "vault").write_text(f"{GOOD}\n")
        made.settings["authz"]["workers"] = 2
        made.start()
        made.create_user("alice")
        wait_until(lambda: made.stderr.count("authz serves") == 2, 60, "every worker")
        provider.take()
        yield made


def _ask(running: Pair, token: str) -> int:
    # A connection each, so that both workers have some.
    return httpx.get(
        f"{running.url}/anthropic/v1/models", headers={"x-api-key": token}, timeout=60
    ).status_code


def _metric(running: Pair, name: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{running.http_port}/metrics", timeout=60).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_all_processes_share_one_run(running: Pair) -> None:
    """The provider gets the key, and all processes together ran the command once."""
    token = running.create_token("alice")
    assert [_ask(running, token) for _ in range(10)] == [200] * 10
    assert {seen.credential for seen in running.provider.take()} == {GOOD}
    assert _runs(running.folder) == 1


def test_a_reload_gets_a_new_key(running: Pair) -> None:
    """`authz reload` runs the command, and every worker soon has the new key."""
    token = running.create_token("alice")
    before = running.stderr.count("central key replaced by its command")
    (running.folder / "vault").write_text(WRONG)
    running.command("reload")

    def replaced() -> bool:
        return running.stderr.count("central key replaced by its command") == before + 2

    wait_until(replaced, 60, "the wrong key in both workers")
    assert _ask(running, token) == 401
    before += 2
    (running.folder / "vault").write_text(GOOD)
    running.command("reload")
    wait_until(replaced, 60, "the right key in both workers")
    assert [_ask(running, token) for _ in range(10)] == [200] * 10


def test_a_failure_keeps_the_key(running: Pair) -> None:
    """The last key is used while the command fails; a metric counts, and no log has a key."""
    token = running.create_token("alice")
    (running.folder / "vault").unlink()
    running.command("reload")
    name = 'authz_key_command_failures_total{provider="anthropic"}'
    wait_until(lambda: _metric(running, name) >= 2, 60, "the failures of both workers")
    assert [_ask(running, token) for _ in range(10)] == [200] * 10
    (running.folder / "vault").write_text(GOOD)
    running.command("reload")
    wait_until(
        lambda: running.stderr.count("command of a central key works again") == 2, 60, "recovery"
    )
    assert running.stderr.count("central key kept: its command fails") == 2
    for secret in (GOOD, WRONG, ON_STDERR):
        assert secret not in running.stderr + running.stdout


def test_without_a_key_there_is_no_start(running: Pair, tmp_path: Path) -> None:
    """`config check` and `serve` report a failing command with the place of its setting."""
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(running.settings))
    for command in (["config", "check"], ["serve"]):
        done = subprocess.run(
            [sys.executable, "-m", "authz", *command],
            cwd=tmp_path,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "providers[0].key: the command ended with status 1: run it as" in done.stderr
        assert ON_STDERR not in done.stderr


def test_stopping_ends_a_command_that_hangs(provider: Provider) -> None:
    """A command that is running when the gateway stops is ended with it."""
    with pair(provider, start=False) as made:
        _use(made)
        (made.folder / "vault").write_text(GOOD)
        script = "test -e hang && exec sleep 600; cat vault"
        made.settings["providers"][0]["key"]["exec"] = ["sh", "-c", script]
        made.start()
        (made.folder / "hang").write_text("")
        made.command("reload")
        wait_until(lambda: "sleep 600" in str(running_in(made.folder)), 60, "the command running")
        assert made.stop(signal.SIGTERM) == 0
        assert "sleep 600" not in str(running_in(made.folder))
