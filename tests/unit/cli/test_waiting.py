"""authz.cli.waiting: a line for a person who waits, seen from a terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

AT_ONCE = """\
import threading
from authz.cli import waiting
waiting.DELAY = 0
begin = threading.Timer.start
def start(timer):
    begin(timer)
    timer.finished.wait(60)
threading.Timer.start = start
"""
"""Makes the delay pass before the work begins, so that no test depends on how long it takes."""
COMMAND = "import sys\nfrom authz.cli.main import main\nmain(sys.argv[1:])\n"
BLOCK = "from authz.cli.waiting import told_if_slow\nwith told_if_slow('working'):\n    pass\n"


def _on_terminal(code: str, *arguments: str, folder: Path) -> str:
    """Run Python with a terminal as its standard error, and return what was printed there."""
    ours, theirs = os.openpty()
    try:
        command = [sys.executable, "-c", code, *arguments]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=theirs, check=False)
        os.write(theirs, b"END")
        seen = b""
        while not seen.endswith(b"END"):
            seen += os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)
    return seen.decode().removesuffix("END").replace("\r\n", "\n")


def test_slow_work(tmp_path: Path) -> None:
    """Work that takes longer than the delay is announced once."""
    assert _on_terminal(AT_ONCE + BLOCK, folder=tmp_path) == "authz: working …\n"


def test_fast_work(tmp_path: Path) -> None:
    """Work that ends before the delay prints nothing, also when it fails."""
    assert _on_terminal(BLOCK, folder=tmp_path) == ""
    failing = BLOCK.replace("pass", "raise SystemExit(1)")
    assert _on_terminal(failing, folder=tmp_path) == ""


def test_not_in_a_log() -> None:
    """Nothing is printed if standard error is not a terminal."""
    command = [sys.executable, "-c", AT_ONCE + BLOCK]
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("envoy validate", "Envoy is checking the configuration"),
        ("envoy render", "rendering Envoy's configuration"),
        ("envoy render --folder out", "Envoy is checking the configuration"),
        ("providers test", "waiting for the providers"),
        ("db init", "creating the tables"),
    ],
)
def test_the_slow_commands(line: str, text: str, tmp_path: Path) -> None:
    """Each command that may take longer than a second says what it waits for."""
    provider = "{name: a, type: openai-compat, base_url: 'http://127.0.0.1:1/v1', key: none}"
    (tmp_path / "gateway.yaml").write_text(f"providers: [{provider}]\n")
    seen = _on_terminal(AT_ONCE + COMMAND, *line.split(), folder=tmp_path)
    assert seen.startswith(f"authz: {text} …\n")
