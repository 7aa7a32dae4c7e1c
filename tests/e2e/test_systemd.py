"""The states that a real ``authz serve`` and a real ``authz up`` send to systemd."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.notify_socket import notify_socket
from tests.support.pair import Pair, Provider, _environment, pair, wait_until
from tests.support.processes import running_in


def _readyz(running: Pair) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{running.http_port}/readyz", timeout=60).status_code
    except httpx.HTTPError:
        return 0


def _variables(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_serve(provider: Provider, workers: int) -> None:
    """READY is sent when /readyz is 200, RELOADING after SIGHUP, STOPPING after SIGTERM."""
    name = f"@authz-serve-{os.getpid()}-{workers}"
    with notify_socket(name) as systemd, pair(provider, start=False) as stopped:
        stopped.create_user("alice")
        stopped.settings["authz"]["workers"] = workers
        (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
        with (stopped.folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "authz", "serve"],
                cwd=stopped.folder,
                env={**_environment(), "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "300000"},
                stdout=stderr,
                stderr=stderr,
            )
        try:
            systemd.wait_for("READY")
            assert _readyz(stopped) == 200
            wait_until(lambda: {"WATCHDOG": "1"} in systemd.messages, 60, "a sign of life")
            expected = ["READY"]
            if workers == 1:
                process.send_signal(signal.SIGHUP)
                expected += ["RELOADING", "READY"]
                systemd.wait_for(*expected)
            process.terminate()
            # Read at once: the socket holds ten messages, and signs of life come all the time.
            systemd.wait_for(*expected, "STOPPING")
            assert process.wait(120) == 0
            assert systemd.states == [*expected, "STOPPING"]
        finally:
            process.kill()
            process.wait()


def test_not_ready_without_the_identity_source(provider: Provider) -> None:
    """READY is not sent while /readyz is 503, and the status says what the service waits for."""
    name = f"@authz-source-{os.getpid()}"
    with notify_socket(name) as systemd, pair(provider, start=False) as stopped:
        # Nothing answers there.
        stopped.settings["identity"] = "http://127.0.0.1:1"
        (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
        with (stopped.folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "authz", "serve"],
                cwd=stopped.folder,
                env={**_environment(), "NOTIFY_SOCKET": name},
                stdout=stderr,
                stderr=stderr,
            )
        try:
            status = {"STATUS": "waiting for the identity source"}
            wait_until(lambda: systemd.messages.count(status) > 1, 60, "the status")
            assert _readyz(stopped) == 503
            process.terminate()
            systemd.wait_for("STOPPING")
            assert process.wait(120) == 0
            assert systemd.states == ["STOPPING"]
        finally:
            process.kill()
            process.wait()


def test_up(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pair is READY when a request would pass, and its children can't send a state."""
    name = f"@authz-up-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with notify_socket(name) as systemd, pair(provider) as running:
        systemd.wait_for("READY")
        assert running.first_token
        others = {
            pid: command
            for pid, command in running_in(running.folder).items()
            if " up" not in command
        }
        assert len(others) == 2
        assert not any(b"NOTIFY_SOCKET" in _variables(pid) for pid in others)
        running.command("reload")
        systemd.wait_for("READY", "RELOADING", "READY")
        running.stop()
        systemd.wait_for("READY", "RELOADING", "READY", "STOPPING")
