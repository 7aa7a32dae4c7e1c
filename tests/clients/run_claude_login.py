"""Claude Code's own sign-in at the gateway (``/login``), on a terminal; by ``make test-clients``."""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from authz.clients.catalog import clients
from tests.clients.installing import Installed, NpmMissingError, install
from tests.clients.running import _folder
from tests.clients.terminal import Terminal, terminal
from tests.e2e.test_device_login import approve
from tests.support.pair import CENTRAL_KEYS, Pair, Provider, pair, stand_in, wait_until

ANSWER = "Hello from the stand-in provider"
READY = "shift+tab to cycle"
MANAGED = {"env": {"DISABLE_AUTOUPDATER": "1"}}
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class World:
    """The gateway, its provider, and Claude Code."""

    gateway: Pair
    provider: Provider
    claude: Installed


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Run all of it."""
    try:
        claude = install(clients()["claude-code"])
    except NpmMissingError as error:
        pytest.skip(str(error))
    sign_in = {"claude_code": {"managed_settings": [{"settings": MANAGED}]}}
    with stand_in() as provider, pair(provider, sign_in=sign_in) as gateway:
        yield World(gateway, provider, claude)


def _press(shown: Terminal, key: str) -> None:
    # A program that has just drawn a question may not read yet.
    time.sleep(1)
    for one in (key.removesuffix("\r"), "\r"):
        if one:
            shown.type(one)
            time.sleep(0.5)


def _to_the_code(shown: Terminal) -> str:
    """Answer what a first start asks, up to the code of the sign-in, and return the code."""
    questions = {
        "Choose the text style": "\r",
        "Press Enter to continue": "\r",
        "Yes, I trust this folder": "\x1b[B\r",
        "Enter to connect": "\r",
        "Yes, trust this gateway": "\x1b[A\r",
    }
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(
            r"(?<![A-Z])([B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4})", shown.text()
        ):
            return found[1]
        for question, key in questions.items():
            if shown.has(question):
                shown.clear()
                _press(shown, key)
                break
        time.sleep(0.2)
    raise AssertionError(shown.text()[-3000:])


def test_login_prompt_and_removal(world: World) -> None:
    """A person signs in with ``/login``, a prompt is answered, and it ends with the user."""
    gateway = world.gateway
    gateway.create_user("dora")
    with _folder() as folder:
        work, home = folder / "work", folder / "home"
        for each in (work, home, home / ".claude"):
            each.mkdir()
        settings = {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": gateway.url}
        (home / ".claude" / "settings.json").write_text(json.dumps(settings))
        environ = {
            "PATH": f"{world.claude.programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "BROWSER": "true",
        }
        with terminal(["claude"], cwd=work, environ=environ) as shown:
            code = _to_the_code(shown)
            approve(gateway.url, gateway.create_token("dora"), code)
            print(shown.text()[-1500:])
            shown.wait("NOTHING", seconds=12)
