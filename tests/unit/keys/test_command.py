"""authz.keys.command, with real processes."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.keys.command import MAX_OUTPUT, Command, CommandError, run

_ENVIRON = {"PATH": os.environ["PATH"]}


def _command(*arguments: str, timeout: float = 60, pass_env: tuple[str, ...] = ()) -> Command:
    return Command(arguments, 900, timeout, pass_env)


def _shell(script: str, timeout: float = 60) -> Command:
    return _command("sh", "-c", script, timeout=timeout)


def _state(pid: int) -> str | None:
    """Return the state of a process, or None if it is gone; a zombie has none to run."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    return text.rpartition(")")[2].split()[0]


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while _state(pid) not in (None, "Z"):
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [("sk-1", b"sk-1"), ("sk-1\\n", b"sk-1"), ("sk-1\\r\\n", b"sk-1"), ("sk-1\\n\\n", b"sk-1\n")],
)
def test_one_line_end_is_removed(printed: str, expected: bytes) -> None:
    """The output is what the command prints, without one line end."""
    assert run(_command("printf", printed), _ENVIRON) == expected


@settings(max_examples=15)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=4))
def test_no_shell_reads_the_arguments(arguments: list[str]) -> None:
    """Each argument reaches the program as it is: quotes, dollars and spaces mean nothing."""
    wanted = "".join(f"<{argument}>" for argument in arguments) + "."
    printed = run(_command("printf", "<%s>" * len(arguments) + ".", *arguments), _ENVIRON)
    assert printed == wanted.encode()


def test_the_environment_is_minimal() -> None:
    """A command gets HOME, LANG, PATH and TZ and the variables that it names, and no other one."""
    environ = {**_ENVIRON, "HOME": "/h", "OTHER_KEY": "sk-other", "VAULT_ADDR": "https://v"}
    command = _command("env", pass_env=("VAULT_ADDR", "VAULT_UNSET"))
    lines = run(command, environ).decode().splitlines()
    assert sorted(lines) == ["HOME=/h", f"PATH={_ENVIRON['PATH']}", "VAULT_ADDR=https://v"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (_command("/nowhere/vault", "sk-argument"), "can't be started: No such file or directory"),
        (_command("/etc/passwd"), "can't be started: Permission denied"),
        (_shell("echo sk-secret; echo sk-secret >&2; exit 3"), "the command ended with status 3"),
        (_shell("kill -TERM $$"), "the command ended with signal 15"),
        (_shell("yes sk-secret"), f"the command prints more than {MAX_OUTPUT} bytes"),
        (_shell("sleep 600", timeout=0.2), r"the command takes longer than 0.2 s \(timeout\)"),
    ],
)
def test_a_command_that_gives_no_key(command: Command, message: str) -> None:
    """The error says how it ended, and has nothing of its output, error output and arguments."""
    with pytest.raises(CommandError, match=message) as caught:
        run(command, _ENVIRON)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("end", ["exec >&-; sleep 600", "trap '' TERM; while :; do sleep 1; done"])
def test_no_process_is_left_after_a_timeout(tmp_path: Path, end: str) -> None:
    """The command and its children are killed, also if they ignore SIGTERM or close the output."""
    script = f"sleep 600 & echo $! > child; echo $$ > own; {end}"
    with pytest.raises(CommandError, match="timeout"):
        run(_command("sh", "-c", f"cd '{tmp_path}'; {script}", timeout=1.5), _ENVIRON)
    for name in ("own", "child"):
        _wait_until_gone(int((tmp_path / name).read_text()))


def test_a_child_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    """The output counts when the command has ended; what it leaves behind is killed."""
    script = f"sleep 600 & echo $! > '{tmp_path}/child'; echo sk-1"
    started = time.monotonic()
    assert run(_shell(script, timeout=60), _ENVIRON) == b"sk-1"
    assert time.monotonic() - started < 60
    _wait_until_gone(int((tmp_path / "child").read_text()))


def test_a_stop_ends_the_command(tmp_path: Path) -> None:
    """While authz stops, the command ends at once."""
    own = tmp_path / "own"
    with pytest.raises(CommandError, match="authz stops"):
        run(
            _shell(f"echo $$ > '{own}'; exec sleep 600"),
            _ENVIRON,
            # The file is there before its content.
            lambda: own.exists() and own.read_text().endswith("\n"),
        )
    _wait_until_gone(int(own.read_text()))
