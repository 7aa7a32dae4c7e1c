"""Claude Code on a terminal and in an empty home, as people start it; run by ``make test-clients``.

``claude -p`` skips all of this: it does not check that its hosts can be reached, and asks nothing
about the log-in.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from authz.clients.catalog import clients
from authz.core.providers import PROVIDER_TYPES
from tests.clients.anthropic_host import AnthropicHost, Asked, ClaudeHost, log_in
from tests.clients.installing import Installed, NpmMissingError, install
from tests.clients.running import _authz, _folder
from tests.clients.terminal import Terminal, terminal
from tests.e2e.proxy import pairs
from tests.e2e.proxy.pairs import Tunnelled
from tests.support.pair import CENTRAL_KEYS, SUBSCRIPTION

ANSWER = "Hello from the stand-in provider"
READY = "shift+tab to cycle"
UNREACHABLE = "Unable to connect"
CENTRAL = ("x-api-key", CENTRAL_KEYS["anthropic"])
OWN = ("authorization", f"Bearer {SUBSCRIPTION}")
KEYLESS = "/api/hello"
LISTED = [
    re.compile(path.pattern)
    for path in PROVIDER_TYPES["anthropic"].paths
    if path.pattern != KEYLESS
]
"""The paths that the central key may be used on."""
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class World:
    """The gateway, its proxy, and Anthropic behind a company's proxy."""

    proxy: Tunnelled
    host: AnthropicHost
    claude: Installed


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Run the gateway and both hosts, with Claude Code installed."""
    try:
        claude = install(clients()["claude-code"])
    except NpmMissingError as error:
        pytest.skip(str(error))
    host = AnthropicHost()
    hosts: dict[str, ASGIApp] = {"api.anthropic.com": host, "platform.claude.com": ClaudeHost()}
    with pairs.behind(hosts) as proxy:
        yield World(proxy, host, claude)


Start = Callable[..., AbstractContextManager[Terminal]]


@pytest.fixture
def start(world: World) -> Start:
    """Start Claude Code in an empty home, or in one with the files of a log-in."""

    @contextmanager
    def _start(lines: str, *, logged_in: bool = False) -> Iterator[Terminal]:
        world.host.take()
        with _folder() as folder:
            work, home, programs = folder / "work", folder / "home", folder / "bin"
            for each in (work, home, programs):
                each.mkdir()
            _authz(programs / "authz", world.proxy.pair.folder)
            if logged_in:
                (home / ".claude").mkdir()
                (home / ".claude" / ".credentials.json").write_text(log_in())
            # The tunnelled host has a certificate of the tests', and no public one.
            both = folder / "both.pem"
            both.write_bytes(b"".join(map(Path.read_bytes, _authorities(world))))
            environ = {
                "PATH": f"{programs}:{world.claude.programs}:{os.environ['PATH']}",
                "HOME": str(home),
                "TMPDIR": str(folder),
                "LANG": "C.UTF-8",
                "CODER_TOKEN": world.proxy.token,
            }
            lines = f"{lines}\nexport NODE_EXTRA_CA_CERTS={both}\nexec claude"
            with terminal(["bash", "-ec", lines], cwd=work, environ=environ) as shown:
                yield shown

    return _start


def _authorities(world: World) -> list[Path]:
    return [world.proxy.ca_file, world.proxy.origin_ca]


def _to_the_prompt(shown: Terminal) -> None:
    """Answer the questions of a first start, up to the prompt."""
    questions = {
        "Choose the text style": "\r",
        "Press Enter to continue": "\r",
        "Yes, I trust this folder": "\x1b[B",
        "Do you want to use this API key": "\x1b[A",
    }
    while True:
        found = shown.wait(UNREACHABLE, READY, *questions)
        assert found != UNREACHABLE, shown.text()
        if found == READY:
            return
        shown.clear()
        _press(shown, questions[found])


def _press(shown: Terminal, key: str) -> None:
    """Press a key, and Enter if the key alone only selects."""
    # A program that has just drawn a question may not read yet.
    time.sleep(1)
    shown.type(key)
    if key != "\r":
        time.sleep(1)
        shown.type("\r")


def _say(shown: Terminal, text: str) -> None:
    shown.clear()
    for letter in text:
        shown.type(letter)
        time.sleep(0.05)
    time.sleep(1)
    shown.type("\r")


def _until_asked(host: AnthropicHost, path: str, shown: Terminal) -> None:
    deadline = time.monotonic() + 120
    while not any(asked.path == path for asked in host.asked):
        assert time.monotonic() < deadline, f"{path} is not asked: {shown.text()[-2000:]}"
        time.sleep(0.1)


def _check(world: World, asked: list[Asked], *own: tuple[str, str]) -> None:
    """Assert that each request had a right credential, and nothing that belongs to Coder."""
    for one in asked:
        where = f"{one.method} {one.path}: {[name for name, _ in one.credentials]}"
        if one.path == KEYLESS:
            assert one.credentials == [], where
        elif any(pattern.fullmatch(one.path) for pattern in LISTED):
            assert len(one.credentials) == 1, where
            assert one.credentials[0] in (CENTRAL, *own), where
        else:
            assert one.credentials == list(own), f"not the log-in's own, {where}"
        assert not any(world.proxy.token[11:] in value for _, value in one.headers), where


def test_the_first_start_reaches_the_log_in(world: World, start: Start) -> None:
    """Claude Code without any credential reaches its hosts and offers to log in."""
    with start('eval "$(authz proxy env)"') as shown:
        assert shown.wait("Choose the text style", UNREACHABLE) != UNREACHABLE, shown.text()
        _press(shown, "\r")
        shown.wait("Select login method")
    asked = world.host.take()
    assert ("GET", KEYLESS) in [(one.method, one.path) for one in asked]
    _check(world, asked)


@pytest.mark.parametrize(
    "base",
    ['eval "$(authz proxy env)"', "export ANTHROPIC_BASE_URL={url}/anthropic"],
    ids=["proxy", "base URL"],
)
def test_a_session_with_the_companys_key(world: World, start: Start, base: str) -> None:
    """A first start with the Coder token ends at the prompt, and a message is answered."""
    base = base.format(url=world.proxy.pair.url)
    with start(f'{base}\nexport ANTHROPIC_AUTH_TOKEN="$CODER_TOKEN"') as shown:
        _to_the_prompt(shown)
        _say(shown, "Hello")
        shown.wait(ANSWER)
    asked = world.host.take()
    assert ("POST", "/v1/messages") in [(one.method, one.path) for one in asked]
    _check(world, asked)


def test_a_session_with_a_log_in(world: World, start: Start) -> None:
    """A subscription's own token reaches all of its paths, and the central key is used on none."""
    before = len(world.proxy.log())
    with start('eval "$(authz proxy env)"', logged_in=True) as shown:
        _to_the_prompt(shown)
        _say(shown, "Hello")
        shown.wait(ANSWER)
        _say(shown, "/usage")
        _until_asked(world.host, "/api/oauth/usage", shown)
    asked = world.host.take()
    paths = {one.path for one in asked}
    assert paths >= {
        KEYLESS,
        "/api/oauth/profile",
        "/api/oauth/usage",
        "/api/claude_cli/bootstrap",
        "/v1/mcp_servers",
        "/v1/messages",
    }
    assert any(path.startswith("/api/eval/") for path in paths)
    _check(world, asked, OWN)
    for entry in world.proxy.log()[before:]:
        assert entry["path"] not in paths or entry.get("reason") is None, entry
