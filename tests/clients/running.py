"""Runs the lines that a person would paste, in a home folder of their own."""

import base64
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    """What came of the lines."""

    status: int
    output: str
    errors: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"status {self.status} after {self.seconds:.1f} s\n"
            f"--- output\n{self.output[-3000:]}\n--- errors\n{self.errors[-3000:]}"
        )


def run(
    client: str, lines: str, installed: Installed, proxy: Proxied, token: str, mode: str
) -> Ran:
    """Run the lines in bash, with the client on PATH and nothing else of ours around."""
    with _folder() as folder:
        work, home, programs = folder / "work", folder / "home", folder / "bin"
        for each in (work, home, programs):
            each.mkdir()
        if installed.modules is not None:
            (work / "node_modules").symlink_to(installed.modules)
        _authz(programs / "authz", proxy.pair.folder)
        if mode == "subscription":
            _log_in(home)
        environ = {
            "PATH": f"{programs}:{installed.programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "CODER_TOKEN": token,
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
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
        return Ran(process.returncode, output, errors, time.monotonic() - began)


def _own(mode: str) -> dict[str, str]:
    if mode == "byok":
        return {
            "ANTHROPIC_API_KEY": OWN_KEYS["anthropic"],
            "OPENAI_API_KEY": OWN_KEYS["openai"],
        }
    return {"CLAUDE_CODE_OAUTH_TOKEN": SUBSCRIPTION} if mode == "subscription" else {}


def _authz(program: Path, folder: Path) -> None:
    """Put our command on PATH, in the folder of the pair and without the tests' Python."""
    program.write_text(
        f"#!/bin/sh\ncd {shlex.quote(str(folder))}\nexec {shlex.quote(sys.executable)} -m authz "
        '"$@"\n'
    )
    program.chmod(0o755)


def _log_in(home: Path) -> None:
    """Leave what ``codex login`` leaves after a log-in with ChatGPT."""
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


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    # A client that has just been killed may still write into it.
    with tempfile.TemporaryDirectory(prefix="client-", ignore_cleanup_errors=True) as name:
        yield Path(name)
