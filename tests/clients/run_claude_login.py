"""Claude Code's own sign-in at the gateway, on a terminal; run by ``make test-clients``."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from authz.clients.catalog import clients
from tests.clients.installing import Installed, NpmMissingError, install
from tests.clients.running import _folder
from tests.clients.terminal import Terminal, terminal
from tests.e2e.test_device_login import approve
from tests.support.certificates import Authority
from tests.support.chromium import (
    HAS_CHROMIUM,
    approve_code,
    approve_shown_code,
    chromium,
    fill,
)
from tests.support.openid import CLIENT_ID, CLIENT_SECRET
from tests.support.openid.keycloak import keycloak
from tests.support.pair import CENTRAL_KEYS, Pair, Provider, pair, stand_in, wait_until

ANSWER = "Hello from the stand-in provider"
READY = re.compile(r"shift\+tabtocycle|\?forshortcuts")
REFUSED = re.compile("Pleaserun/login")
CODE = re.compile(r"(?<![A-Z])[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}")
QUESTIONS = {
    "Choose the text style": "\r",
    "Press Enter to continue": "\r",
    "Yes, I trust this folder": "\x1b[B\r",
    "Enter to connect": "\r",
    "Yes, trust this gateway": "\x1b[A\r",
    "Yes, I trust these settings": "\r",
}
MANAGED = {"env": {"DISABLE_AUTOUPDATER": "1"}}
CENTRAL = ("x-api-key", CENTRAL_KEYS["anthropic"])
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class World:
    """The gateway, its provider, and Claude Code."""

    gateway: Pair
    provider: Provider
    claude: Installed
    ca_file: Path

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return self.gateway.url.replace("http://", "https://")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Run the gateway, its provider and Claude Code."""
    try:
        claude = install(clients()["claude-code"])
    except NpmMissingError as error:
        pytest.skip(str(error))
    sign_in = {"claude_code": {"managed_settings": [{"settings": MANAGED}]}}
    with _folder() as folder, stand_in() as provider:
        authority = Authority(folder, "gateway-ca")
        cert_file, key_file = authority.issue()
        tls = {"cert_file": str(cert_file), "key_file": str(key_file)}
        with pair(provider, sign_in=sign_in, tls=tls) as gateway:
            yield World(gateway, provider, claude, authority.ca_file)


def _approve(world: World, token: str, code: str) -> None:
    """Approve a code, in a real Chromium if one is installed."""
    if not HAS_CHROMIUM:
        approve(world.url, token, code, world.ca_file)
        return
    # The CA of the test is not one of the system's.
    with chromium("--ignore-certificate-errors") as driver:
        approve_code(driver, world.url, token, code)


def _press(shown: Terminal, key: str) -> None:
    # A program that has just drawn a question may not read yet.
    time.sleep(1)
    for one in (key.removesuffix("\r"), "\r"):
        if one:
            shown.type(one)
            time.sleep(0.5)


def _to_the_code(shown: Terminal) -> str:
    """Answer the questions of a first start, up to the code of the sign-in, and return the code."""
    _answer(shown, CODE)
    found = CODE.search(shown.text())
    assert found is not None
    # Before the approval, after which Claude Code goes on at once.
    shown.clear()
    return found[0]


def _answer(shown: Terminal, until: re.Pattern[str]) -> None:
    """Answer questions until a pattern is written; blanks don't count."""
    deadline = time.monotonic() + 120
    while until.search(shown.text()) is None:
        assert time.monotonic() < deadline, shown.text()[-3000:]
        for question, key in QUESTIONS.items():
            if shown.has(question):
                shown.clear()
                _press(shown, key)
                break
        time.sleep(0.2)


def test_login_prompt_and_removal(world: World) -> None:
    """A person signs in, gets managed settings and an answer, and is refused once deleted."""
    gateway = world.gateway
    gateway.create_user("dora")
    with _claude(world) as (shown, home):
        code = _to_the_code(shown)
        _approve(world, gateway.create_token("dora"), code)
        _prompt(world, shown)
        # Claude Code keeps the managed settings that it got.
        assert json.loads((home / ".claude" / "remote-settings.json").read_text()) == MANAGED
        gateway.delete_user("dora")
        _say(shown, "Hello again")
        _answer(shown, REFUSED)
        assert world.provider.take() == []


@pytest.mark.skipif(not HAS_CHROMIUM, reason="needs Debian's packages chromium, chromium-driver")
def test_login_with_keycloak(world: World, tmp_path: Path) -> None:
    """A person known only to Keycloak signs in, and usage has their name and group."""
    gateway = world.gateway
    tls = gateway.settings["tls"]
    certificate = (Path(tls["cert_file"]), Path(tls["key_file"]))
    with keycloak(certificate, world.ca_file, world.url, tmp_path / "log") as idp:
        idp.set_account("1", preferred_username="ada", name="Ada Lovelace", groups=["dev"])
        company = {
            "name": "company",
            "title": "Acme",
            "issuer": idp.issuer,
            "client_id": CLIENT_ID,
            "client_secret": {"env": "OIDC_CLIENT_SECRET"},
            "ca_file": str(world.ca_file),
            "allowed_groups": ["dev"],
        }
        gateway.settings["sign_in"] |= {"url": world.url, "passwords": False, "oidc": [company]}
        gateway.environ["OIDC_CLIENT_SECRET"] = CLIENT_SECRET
        gateway.stop()
        gateway.start()
        with _claude(world) as (shown, _):
            began = time.monotonic()
            code = _to_the_code(shown)
            with chromium("--ignore-certificate-errors") as driver:
                driver.get(f"{world.url}/ui/device/{code}")
                driver.find_element(By.LINK_TEXT, "Sign in with Acme").click()
                fill(driver, username="ada", password="any")
                driver.find_element(By.ID, "kc-login").click()
                approve_shown_code(driver, code)
            _prompt(world, shown)
            print(f"\nfrom the first start to an answer: {time.monotonic() - began:.0f} s")
    wait_until(lambda: "ada" in gateway.command("usage").stdout, 30, "the usage")
    assert "dev" in gateway.command("usage", "--by", "group").stdout


@contextlib.contextmanager
def _claude(world: World) -> Iterator[tuple[Terminal, Path]]:
    """Run Claude Code in an empty home, with the gateway in its settings."""
    with _folder() as folder:
        work, home = folder / "work", folder / "home"
        for each in (work, home, home / ".claude"):
            each.mkdir()
        settings = {"forceLoginMethod": "gateway", "forceLoginGatewayUrl": world.url}
        (home / ".claude" / "settings.json").write_text(json.dumps(settings))
        environ = {
            "PATH": f"{world.claude.programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "BROWSER": "true",
            "NODE_EXTRA_CA_CERTS": str(world.ca_file),
        }
        with terminal(["claude"], cwd=work, environ=environ) as shown:
            yield shown, home


def _prompt(world: World, shown: Terminal) -> None:
    """Ask for an answer, which the provider gives for the central key."""
    _answer(shown, READY)
    world.provider.take()
    _say(shown, "Hello")
    shown.wait(ANSWER)
    asked = [one for one in world.provider.take() if one.path == "/v1/messages"]
    assert asked
    for one in asked:
        assert (one.credential_header, one.credential) == CENTRAL
        assert not any(name == "authorization" for name, _ in one.headers)


def _say(shown: Terminal, text: str) -> None:
    shown.clear()
    for letter in text:
        shown.type(letter)
        time.sleep(0.05)
    _press(shown, "\r")
