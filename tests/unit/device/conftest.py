"""The device flow on a store of each kind, with two replicas that share nothing else."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from authz.config.claude_code import ClaudeCode
from authz.config.settings import Config
from authz.device.claude import claude_routes
from authz.device.endpoints import device_routes
from authz.device.grants import DEVICE_CODE, DeviceGrants
from authz.identity.open import open_source, open_store
from authz.identity.store import Store
from authz.metrics import Metrics
from authz.oauth.token_endpoint import token_route
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.pages.app import create_pages
from authz.web.pages.context import Pages
from authz.web.sign_in import SignIn
from authz.web.usage_rows import UsageRows
from tests.support.browsing import Browser

ORIGIN = "https://gateway.test"
AGENT = "claude-code/2.1.331 (linux)"
SETTINGS: dict[str, Any] = {
    "managed_settings": [
        {"groups": ["engineering"], "settings": {"model": "opus", "env": {"B": "2", "A": "ü"}}},
        {"groups": ["visitors"], "settings": {}},
    ],
    "models": [{"id": "claude-sonnet-4-5", "display_name": "Sonnet"}, {"id": "claude-opus-4"}],
}


@dataclass
class Flow:
    """Two replicas of the HTTP side, and the store.

    Attributes:
        programs: clients of each replica that act as Claude Code does.
    """

    apps: list[ASGIApp]
    programs: list[httpx.AsyncClient]
    store: Store

    async def begin(self, replica: int = 0, path: str = "", **form: str) -> dict[str, Any]:
        """Ask for a device code."""
        url = f"/oauth/device_authorization{path}"
        response = await self.programs[replica].post(url, data={"surface": "claude_code", **form})
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def poll(self, begun: dict[str, Any], replica: int = 0) -> httpx.Response:
        """Ask for the token, as if the interval were over."""
        await self.store._database.execute("UPDATE device_codes SET polled_at = NULL")
        return await self.again(begun, replica)

    async def again(self, begun: dict[str, Any], replica: int = 0) -> httpx.Response:
        """Ask for the token at once."""
        form = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
        return await self.programs[replica].post("/oauth/token", data=form)

    async def refresh(self, token: str, replica: int = 0) -> httpx.Response:
        """Ask for new tokens."""
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return await self.programs[replica].post("/oauth/token", data=form)

    async def browser(
        self, name: str = "alice", replica: int = 0, ip: str = "192.0.2.9"
    ) -> Browser:
        """Return a browser in which a user is signed in with a token."""
        transport = httpx.ASGITransport(self.apps[replica], client=(ip, 1234))
        browser = Browser(httpx.AsyncClient(transport=transport, base_url=ORIGIN), ORIGIN)
        token, _ = await self.store.create_token(await self.store.get_user(name))
        await browser.post("/ui/sign-in", token=token)
        assert browser.last.status_code == 200, browser.last.text
        return browser

    async def decide(
        self, begun: dict[str, Any], decision: str = "approve", browser: Browser | None = None
    ) -> httpx.Response:
        """Enter a code in a browser and press a button."""
        browser = browser or await self.browser()
        page = await browser.post("/ui/device", code=begun["user_code"])
        assert browser.last.status_code == 200, browser.last.text
        fields = {"code": begun["user_code"], "decision": decision}
        await browser.post("/ui/device/decide", page.csrf, **fields)
        return browser.last

    async def signed_in(self) -> dict[str, Any]:
        """Return the tokens of a sign-in from beginning to end."""
        begun = await self.begin()
        await self.decide(begun)
        response = await self.poll(begun)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def later(self, delta: timedelta) -> None:
        """Let the time since the last rotation pass."""
        rows = await self.store._database.fetch("SELECT api_key_id, rotated_at FROM refresh_tokens")
        for row in rows:
            await self.store._database.execute(
                "UPDATE refresh_tokens SET rotated_at = $1 WHERE api_key_id = $2",
                row["rotated_at"] - delta,
                row["api_key_id"],
            )

    async def bearer(self, path: str, token: str, **headers: str) -> httpx.Response:
        """Ask for a path with a token."""
        headers = {"authorization": f"Bearer {token}", **headers}
        return await self.programs[1].get(path, headers=headers)


@pytest.fixture
async def flow(store_url: str, tmp_path: Path) -> AsyncIterator[Flow]:
    """The flow with alice, who is in the group engineering, and bob."""
    async with contextlib.AsyncExitStack() as stack:
        store = await open_store(store_url, create=True)
        stack.push_async_callback(store.close)
        alice = await store.create_user("alice", "alice@example.com")
        await store.create_user("bob")
        await store.add_members(await store.create_group("engineering"), [alice])
        config = Config.model_validate(
            {"identity": store_url, "authz": {"grpc": f"unix:{tmp_path}/authz.sock"}}
        )
        settings = ClaudeCode.model_validate_json(ClaudeCode(**SETTINGS).model_dump_json())
        apps: list[ASGIApp] = []
        for _ in range(2):
            own_store, source = OwnStore(store_url, 365), await open_source(store_url)
            usage = UsageRows(lambda: config)
            for part in (own_store, source, usage):
                stack.push_async_callback(part.close)
            grants = DeviceGrants(settings).grants
            routes = [
                token_route(grants, own_store),
                *device_routes(own_store, grants, lambda: ["anthropic", "other"]),
                *claude_routes(own_store, settings),
            ]
            sign_in = SignIn(clock=lambda: 0.0)
            pages = create_pages(Pages(own_store, sign_in, True, lambda: config, usage))
            apps.append(create_app(source, Metrics(), pages=pages, routes=routes))
        programs = [
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url=ORIGIN, headers={"user-agent": AGENT}
            )
            for app in apps
        ]
        yield Flow(apps, programs, store)
