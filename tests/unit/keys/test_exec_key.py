"""authz.keys.exec_key, with real commands in real threads and processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from authz.keys import exec_key
from authz.keys.command import Command
from authz.keys.exec_key import ExecKey, close_others, open_exec_key
from authz.keys.shared_outputs import Output, SharedOutputs
from authz.secret import Secret

_ENVIRON = {"PATH": os.environ["PATH"]}
TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"


class Vault:
    """A command that prints the file ``key``, and appends a line to ``runs``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put("sk-first")

    def put(self, key: str) -> None:
        # By a rename, as the command may read it at any time.
        (self.folder / "new").write_text(key)
        (self.folder / "new").replace(self.folder / "key")

    def remove(self) -> None:
        (self.folder / "key").unlink()

    @property
    def runs(self) -> int:
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def command(self, refresh: float = 3600) -> Command:
        script = f"cd '{self.folder}'; echo run >> runs; echo sk-on-stderr >&2; cat key"
        return Command(("sh", "-c", script), refresh, 60)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """A command with a key."""
    return Vault(tmp_path)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    for key in close_others(()):
        key.join()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _started(vault: Vault, refresh: float = 3600) -> tuple[ExecKey, list[str]]:
    failures: list[str] = []
    key = open_exec_key(vault.command(refresh), _ENVIRON)
    key.start(["one"], lambda: failures.append("one"))
    return key, failures


def test_the_command_runs_once_in_a_process(vault: Vault) -> None:
    """A check and then a start, or two providers with one command, run it once."""
    first = open_exec_key(vault.command(), _ENVIRON)
    assert open_exec_key(vault.command(), _ENVIRON) is first
    assert first.current() == Secret("sk-first")
    assert vault.runs == 1


@pytest.mark.parametrize("text", ["", "\n", "two words", "sk-1\n\n", "sk-ä", TOKEN])
def test_output_that_can_be_no_key_is_refused(vault: Vault, text: str) -> None:
    """Output is checked like a file's content, and the error does not show it."""
    vault.put(text)
    with pytest.raises(ValueError, match="the command's output holds") as caught:
        open_exec_key(vault.command(), _ENVIRON)
    if text.strip():
        assert text.strip() not in str(caught.value)


def test_a_failed_first_run_is_tried_again(vault: Vault) -> None:
    """A reload after a failed first run runs the command again."""
    vault.remove()
    with pytest.raises(ValueError, match="the command ended with status 1"):
        open_exec_key(vault.command(), _ENVIRON)
    vault.put("sk-later")
    assert open_exec_key(vault.command(), _ENVIRON).current() == Secret("sk-later")


def test_the_key_is_refreshed(vault: Vault) -> None:
    """The command runs again and again, and a new key counts."""
    with capture_logs() as logs:
        key, failures = _started(vault, refresh=0.2)
        vault.put("sk-second")
        _until(lambda: key.current() == Secret("sk-second"))
        _until(lambda: vault.runs > 3)
    assert [line["event"] for line in logs] == ["central key replaced by its command"]
    assert "sk-" not in str(logs)
    assert failures == []


def test_a_failure_keeps_the_last_key(vault: Vault) -> None:
    """Each failure is reported, one line is logged for the change and one for its end."""
    with capture_logs() as logs:
        key, failures = _started(vault, refresh=0.1)
        vault.remove()
        _until(lambda: len(failures) > 2)
        assert key.current() == Secret("sk-first")
        vault.put("sk-second")
        _until(lambda: key.current() == Secret("sk-second"))
    lines = [(line["log_level"], line["event"]) for line in logs]
    assert lines == [
        ("error", "central key kept: its command fails"),
        ("info", "command of a central key works again"),
        ("info", "central key replaced by its command"),
    ]
    assert "sk-" not in str(logs)


def test_a_refusal_of_the_provider_runs_it_early(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider's 401 is a reason to run, but not more often than every 30 seconds."""
    key, _ = _started(vault)
    vault.put("sk-second")
    for _ in range(5):
        key.refresh_soon()
    key._wake.clear()
    assert vault.runs == 1
    monkeypatch.setattr(exec_key, "EARLY_SECONDS", 0)
    key.refresh_soon()
    _until(lambda: key.current() == Secret("sk-second"))
    assert vault.runs == 2


def test_an_operator_runs_it_at_once(vault: Vault) -> None:
    """A reload runs the command at once, without waiting for the 30 seconds."""
    key, _ = _started(vault)
    vault.put("sk-second")
    key.refresh_soon(always=True)
    _until(lambda: key.current() == Secret("sk-second"))


def test_stopping_ends_a_running_command(tmp_path: Path) -> None:
    """A command that hangs does not delay the end of authz."""
    own = tmp_path / "own"
    script = (
        f"test -e '{own}' || {{ echo > '{own}'; echo sk-1; exit; }}; echo $$ > '{own}'; sleep 60"
    )
    key = open_exec_key(Command(("sh", "-c", script), 3600, 60), _ENVIRON)
    key.start(["one"], lambda: None)
    key.refresh_soon(always=True)
    _until(lambda: own.read_text().strip() != "")
    pid = int(own.read_text())
    with capture_logs() as logs:
        assert close_others(()) == [key]
        key.join()
    assert key._thread is not None
    assert not key._thread.is_alive()
    assert logs == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


_WORKER = """
import json, sys
from authz.keys.command import Command
from authz.keys.exec_key import open_exec_key, shared_outputs
shared_outputs(int(sys.argv[1]))
command = Command(tuple(json.loads(sys.argv[2])), 3600, 60)
print(open_exec_key(command, {"PATH": sys.argv[3]}).current().hint)
"""


def test_workers_run_it_once_together(vault: Vault) -> None:
    """Three processes that start at the same time share one run, without a file."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("this system has no memory files: each worker runs the command")
    vault.put("sk-shared-by-the-workers")
    outputs = SharedOutputs()
    assert outputs.descriptor is not None
    arguments = json.dumps(vault.command().arguments)
    line = [sys.executable, "-c", _WORKER, str(outputs.descriptor), arguments, os.environ["PATH"]]
    workers = [
        subprocess.Popen(line, stdout=subprocess.PIPE, pass_fds=[outputs.descriptor], text=True)
        for _ in range(3)
    ]
    hints = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    os.close(outputs.descriptor)
    assert hints == [Secret("sk-shared-by-the-workers").hint] * 3
    assert vault.runs == 1


def test_a_worker_takes_the_key_of_another_one(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker takes over the key of another worker that ran the command early."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("this system has no memory files: each worker runs the command")
    monkeypatch.setattr(exec_key, "_SHARE_SECONDS", 0.05)
    parent = SharedOutputs()
    assert parent.descriptor is not None
    key = ExecKey(vault.command(), _ENVIRON, SharedOutputs(parent.descriptor))
    key.start(["one"], lambda: None)
    parent.put(vault.command(), Output(time.monotonic(), "sk-of-another"))
    _until(lambda: key.current() == Secret("sk-of-another"))
    key.stop()
    key.join()
    os.close(parent.descriptor)
    assert vault.runs == 1


def test_half_written_memory_is_empty(vault: Vault) -> None:
    """A worker that was killed while it wrote costs one more run."""
    outputs = SharedOutputs()
    if outputs.descriptor is None:
        pytest.skip("this system has no memory files")
    outputs.put(vault.command(), Output(time.monotonic(), "sk-1"))
    os.ftruncate(outputs.descriptor, 20)
    assert outputs.get(vault.command()) is None
    assert "sk-1" not in repr(Output(1.0, "sk-1"))
    os.close(outputs.descriptor)
