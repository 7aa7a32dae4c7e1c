"""``authz login`` with a real Chromium, which enforces the pages' policies unlike httpx."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver import Chrome

from tests.support.chromium import approve_code, chromium, needs_chromium, sign_in, submit
from tests.support.pair import Pair, Provider, pair, wait_until

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def gateway(provider: Provider) -> Iterator[Pair]:
    """A pair."""
    with pair(provider) as running:
        yield running


@pytest.fixture
def browser() -> Iterator[Chrome]:
    """A browser without cookies or history."""
    with chromium() as driver:
        yield driver


def _finish(process: "subprocess.Popen[bytes]", folder: Path, log: Path) -> str:
    assert process.wait(60) == 0, log.read_text()
    token = (folder / ".authz" / "session").read_text().strip()
    assert token not in log.read_text()
    return token


def _whose(gateway: Pair, token: str) -> str:
    headers = {"authorization": f"Bearer {token}"}
    return str(httpx.get(f"{gateway.url}/api/v2/users/me", headers=headers).json()["username"])


@pytest.mark.parametrize("is_device", [False, True])
def test_authz_login(gateway: Pair, browser: Chrome, tmp_path: Path, *, is_device: bool) -> None:
    """A person signs in on the page, approves in the browser, and the command gets the session."""
    name = f"user{time.monotonic_ns()}"
    gateway.create_user(name)
    log = tmp_path / "stderr"
    option = "--device" if is_device else "--no-browser"
    command = [sys.executable, "-m", "authz", "login", option, "--url", gateway.url]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("AUTHZ_", "CODER_"))}
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=stderr, env=environ)
    try:
        pattern = r"\b[B-Z]{4}-[B-Z]{4}\b" if is_device else r"http://\S+/ui/cli/\S+"
        wait_until(lambda: re.search(pattern, log.read_text()), 20, "what to open")
        found = re.search(pattern, log.read_text())
        assert found is not None
        if is_device:
            approve_code(browser, gateway.url, gateway.create_token(name), found[0])
        else:
            browser.get(found[0])
            sign_in(browser, gateway.create_token(name))
            submit(browser, "Sign in the command")
            # The policy of the page lets the browser go on to the command.
            assert "You are signed in" in browser.page_source
            assert browser.current_url.startswith("http://127.0.0.1:")
        assert _whose(gateway, _finish(process, tmp_path, log)) == name
    finally:
        process.kill()
        process.wait()
