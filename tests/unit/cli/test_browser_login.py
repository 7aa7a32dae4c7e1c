"""authz login --url: the command waits on a loopback port, and a person approves in the browser."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from authz.cli.browser_login import gateway_url
from authz.config.settings import Config
from authz.core.tokens import parse
from authz.errors import StoreError
from authz.identity.open import open_source, open_store
from authz.identity.store import Store
from authz.identity.store_sessions import Authenticated
from authz.metrics import Metrics
from authz.secret import Secret
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.pages.app import create_pages
from authz.web.pages.cli_sign_in import challenge_of
from authz.web.pages.context import Pages
from authz.web.sign_in import SignIn
from authz.web.usage_rows import UsageRows
from tests.support.browsing import Browser
from tests.support.threaded import served

PASSWORD = "correct horse battery"


@dataclass
class Site:
    """A gateway's pages on a port, and alice's browser there."""

    url: str
    store: Store
    browser: Browser
    folder: Path

    async def run(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start the command in an empty folder."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "authz",
            *arguments,
            cwd=self.folder,
            env={key: text for key, text in os.environ.items() if not key.startswith("CODER")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture
async def site(path: Path, tmp_path: Path) -> AsyncIterator[Site]:
    """The pages, and alice with a password."""
    url = f"sqlite:///{path}"
    store = await open_store(url, create=True)
    await store.create_user("alice", password=Secret(PASSWORD))
    config = Config.model_validate(
        {"identity": url, "authz": {"grpc": f"unix:{tmp_path}/authz.sock"}}
    )
    own_store, source = OwnStore(url, 365), await open_source(url)
    usage = UsageRows(lambda: config)
    pages = create_pages(Pages(own_store, SignIn(), False, lambda: config, usage))
    folder = tmp_path / "laptop"
    folder.mkdir()
    with served(create_app(source, Metrics(), pages=pages)) as port:
        origin = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=origin) as client:
            browser = Browser(client, origin)
            await browser.sign_in("alice", PASSWORD)
            assert browser.last.status_code == 200, browser.last.text
            yield Site(origin, store, browser, folder)
    await usage.close()
    await source.close()
    await store.close()


async def test_login_with_the_browser(site: Site) -> None:
    """The person approves, the command gets a session of theirs, and `login token` prints it."""
    command = await site.run("login", "--url", site.url, "--no-browser")
    assert command.stderr is not None
    await command.stderr.readline()
    page_url = (await command.stderr.readline()).decode().strip()
    path = urlsplit(page_url).path
    page = await site.browser.get(path)
    port = path.split("/")[3]
    assert f"http://127.0.0.1:{port}" in site.browser.last.headers["content-security-policy"]
    # Another program's request to the port, without the state, changes nothing.
    async with httpx.AsyncClient() as stranger:
        response = await stranger.get(f"http://127.0.0.1:{port}/?code=x&state=y")
        assert response.status_code == 404
    approved = await site.browser.client.post(
        path, data={"csrf": page.csrf}, headers={"origin": site.url}
    )
    location = approved.headers["location"]
    assert location.startswith(f"http://127.0.0.1:{port}/?code=")
    async with httpx.AsyncClient() as same_browser:
        assert (await same_browser.get(location)).status_code == 200
    _, error = await asyncio.wait_for(command.communicate(), 60)
    assert command.returncode == 0, error
    printed, _ = await (await site.run("login", "token")).communicate()
    token = parse(printed.decode().strip())
    assert token is not None
    proven = await site.store.authenticate(token)
    assert isinstance(proven, Authenticated)
    assert proven.user.username == "alice"
    assert (site.folder / ".authz" / "session").stat().st_mode & 0o777 == 0o600
    assert printed.decode().strip() not in error.decode() + location


async def test_code_works_once_with_its_verifier(site: Site) -> None:
    """The code works once, only with its verifier, and not as a token."""
    verifier, state = "v" * 43, "s" * 43
    path = f"/ui/cli/4000/{state}/{challenge_of(verifier)}"
    page = await site.browser.get(path)
    approved = await site.browser.client.post(
        path, data={"csrf": page.csrf}, headers={"origin": site.url}
    )
    query = parse_qs(urlsplit(approved.headers["location"]).query)
    assert query["state"] == [state]
    code = query["code"][0]
    async with httpx.AsyncClient(base_url=site.url) as command:

        async def exchange(code: str, verifier: str) -> int:
            form = {"code": code, "code_verifier": verifier}
            return (await command.post("/ui/cli/token", data=form)).status_code

        assert await exchange(code, "w" * 43) == 400
        assert await exchange(code[:-1] + "_", verifier) == 400
        assert await exchange("", "") == 400
        assert await site.store.find_token(code) is None
        assert await exchange(code, verifier) == 200
        assert await exchange(code, verifier) == 400


async def test_nothing_without_a_person(site: Site) -> None:
    """A link alone signs nothing in: it needs a session, and a form with its CSRF token."""
    path = f"/ui/cli/4000/{'s' * 43}/{'c' * 43}"
    async with httpx.AsyncClient(base_url=site.url) as stranger:
        response = await stranger.get(path)
        assert response.headers["location"] == f"/ui/sign-in?next={path}"
    page = await site.browser.get(path)
    assert page.one("button", class_="main").text == "Sign in the command"
    for headers, csrf in (({}, "x"), ({"origin": "https://evil.test"}, page.csrf)):
        response = await site.browser.client.post(path, data={"csrf": csrf}, headers=headers)
        assert response.status_code == 403
    for wrong in ("80", "0", "70000", "4000@evil.test", "4000.evil.test"):
        await site.browser.get(f"/ui/cli/{wrong}/{'s' * 43}/{'c' * 43}")
        assert site.browser.last.status_code == 404, wrong


@pytest.mark.parametrize(
    "url", ["http://gateway.test", "https://a/b", "gateway.test", "https://a@b"]
)
def test_bad_url(url: str) -> None:
    """A URL that would send the token in clear, or names no gateway, is refused."""
    with pytest.raises(StoreError, match="--url"):
        gateway_url(url)
