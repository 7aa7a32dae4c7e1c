"""Runs the lines that a person would paste, in a home folder created for them."""

import base64
import codecs
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.clients.installing import Installed
from tests.e2e.proxy.pairs import Proxied
from tests.support.pair import OWN_KEYS, SUBSCRIPTION

HEADLESS = {
    # What a person at a terminal answers once, or does not notice.
    "aider": {
        "AIDER_ANALYTICS": "false",
        "AIDER_CHECK_UPDATE": "false",
        "AIDER_SHOW_MODEL_WARNINGS": "false",
        "AIDER_GIT": "false",
        "AIDER_PRETTY": "false",
        "AIDER_YES_ALWAYS": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    },
    "litellm": {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    "opencode": {"OPENCODE_DISABLE_AUTOUPDATE": "true"},
}
_SECONDS = 100


@dataclass(frozen=True)
class Ran:
    """The result of running the lines.

    Attributes:
        pieces: the output as it came: seconds since the beginning, and text.
    """

    status: int
    output: str
    errors: str
    seconds: float
    pieces: tuple[tuple[float, str], ...] = ()

    def spread(self, first: str, last: str) -> float:
        """Return the seconds between two texts in the output, each as soon as it was complete."""
        times: dict[str, float] = {}
        whole = ""
        for moment, piece in self.pieces:
            whole += piece
            for text in (first, last):
                if text in " ".join(whole.split()):
                    times.setdefault(text, moment)
        return times[last] - times[first]

    def __str__(self) -> str:
        return (
            f"status {self.status} after {self.seconds:.1f} s\n"
            f"--- output\n{self.output[-3000:]}\n--- errors\n{self.errors[-3000:]}"
        )


def run(
    client: str, lines: str, installed: Installed, proxy: Proxied, token: str, mode: str
) -> Ran:
    """Run the lines in bash, with the client on PATH and nothing else of this project around."""
    with _folder() as folder:
        work, home, programs = folder / "work", folder / "home", folder / "bin"
        for each in (work, home, programs):
            each.mkdir()
        if installed.modules is not None:
            (work / "node_modules").symlink_to(installed.modules)
        _authz(programs / "authz", proxy.pair.folder)
        if mode.endswith("subscription"):
            _log_in(home)
        environ = {
            "PATH": f"{programs}:{installed.programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "CODER_TOKEN": token,
            # As on a terminal, the output is not kept back until the end.
            "PYTHONUNBUFFERED": "1",
            **HEADLESS.get(client, {}),
            **_own(mode),
        }
        began = time.monotonic()
        process = subprocess.Popen(
            ["bash", "-ec", lines],
            cwd=work,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        output, errors = _Reader(process.stdout, began), _Reader(process.stderr, began)
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        seconds = time.monotonic() - began
        pieces = output.end()
        said = "".join(text for _, text in errors.end())
        whole = "".join(text for _, text in pieces)
        return Ran(process.returncode, whole, said, seconds, pieces)


class _Reader(threading.Thread):
    """Reads a pipe to its end, and notes when each piece came."""

    def __init__(self, pipe: IO[bytes] | None, began: float) -> None:
        super().__init__(daemon=True)
        assert pipe is not None
        self._pipe, self._began = pipe, began
        self._pieces: list[tuple[float, str]] = []
        self.start()

    def run(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._pipe:
            while piece := os.read(self._pipe.fileno(), 65_536):
                self._pieces.append((time.monotonic() - self._began, decoder.decode(piece)))

    def end(self) -> tuple[tuple[float, str], ...]:
        """Return all pieces, without waiting for output of children that are left over."""
        self.join(5)
        return tuple(self._pieces)


def _own(mode: str) -> dict[str, str]:
    if mode.endswith("byok"):
        return {
            "ANTHROPIC_API_KEY": OWN_KEYS["anthropic"],
            "OPENAI_API_KEY": OWN_KEYS["openai"],
        }
    return {"CLAUDE_CODE_OAUTH_TOKEN": SUBSCRIPTION} if mode.endswith("subscription") else {}


def _authz(program: Path, folder: Path) -> None:
    """Put the ``authz`` command on PATH, in the pair's folder and without the tests' Python."""
    program.write_text(
        f"#!/bin/sh\ncd {shlex.quote(str(folder))}\nexec {shlex.quote(sys.executable)} -m authz "
        '"$@"\n'
    )
    program.chmod(0o755)


def _log_in(home: Path) -> None:
    """Write the files that a log-in with ChatGPT leaves, for Codex and for opencode."""
    claims = {
        "email": "alice@example.com",
        "exp": int(time.time()) + 86_400,
        "https://api.openai.com/auth": {
            "chatgpt_plan_type": "pro",
            "chatgpt_account_id": "account-1",
            "chatgpt_user_id": "user-1",
        },
    }
    parts: tuple[dict[str, object], ...] = ({"alg": "none"}, claims, {})
    token = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    folder = home / ".codex"
    folder.mkdir()
    tokens = {
        "id_token": token,
        "access_token": OWN_KEYS["chatgpt"],
        "refresh_token": "refresh-1",
        "account_id": "account-1",
    }
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    (folder / "auth.json").write_text(
        json.dumps({"OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": now})
    )
    folder = home / ".local" / "share" / "opencode"
    folder.mkdir(parents=True)
    login = {
        "type": "oauth",
        "access": OWN_KEYS["chatgpt"],
        "refresh": "refresh-1",
        "expires": int(time.time() + 86_400) * 1000,
        "accountId": "account-1",
    }
    (folder / "auth.json").write_text(json.dumps({"openai": login}))


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    # A client that has just been killed may still write into it.
    with tempfile.TemporaryDirectory(prefix="client-", ignore_cleanup_errors=True) as name:
        yield Path(name)
