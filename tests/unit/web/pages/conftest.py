"""The page on an SQLite store, called without a network."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher

from authz.config.settings import Config
from authz.identity.accounts import User
from authz.identity.open import open_source, open_store
from authz.identity.store import Store
from authz.keys.pool import KeyPool
from authz.metrics import Metrics
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.pages.app import create_pages
from authz.web.pages.context import GatewayState, Pages
from authz.web.sign_in import SignIn
from authz.web.usage_rows import UsageRows
from tests.support.browsing import Browser

PASSWORD = "correct horse battery"
PEER = "192.0.2.7"
ORIGIN = "https://gateway.test"


@dataclass
class Site:
    """The page and the store behind it."""

    app: object
    store: Store
    users: dict[str, User]
    config: Config
    usage: UsageRows
    own_store: OwnStore
    pools: dict[str, KeyPool]
    metrics: Metrics

    def browser(self) -> Browser:
        """Return a browser without any cookies."""
        transport = httpx.ASGITransport(self.app, client=(PEER, 1234))  # type: ignore[arg-type]
        return Browser(httpx.AsyncClient(transport=transport, base_url=ORIGIN), ORIGIN)

    async def signed_in(self, name: str) -> Browser:
        """Return a browser in which a user is signed in."""
        browser = self.browser()
        await browser.sign_in(name, PASSWORD)
        assert browser.last.status_code == 200, browser.last.text
        return browser


@lru_cache(maxsize=1)
def _hashed() -> bytes:
    # A hash names its own cost, so a sign-in with this one is cheap.
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD).encode()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The page with root (owner), helper (user administrator), alice, bob and the machine bot."""
    url = f"sqlite:///{tmp_path}/identity.db"
    store = await open_store(url, create=True)
    users = {
        "root": await store.create_user("root", "root@example.com", role="owner"),
        "helper": await store.create_user("helper", "helper@example.com", role="user-admin"),
        "alice": await store.create_user("alice", "alice@example.com"),
        "bob": await store.create_user("bob", "bob@example.com"),
        "bot": await store.create_user("bot", service_account=True),
    }
    await store._database.execute(
        "UPDATE users SET hashed_password = $1 WHERE is_service_account = $2", _hashed(), False
    )
    config = Config.model_validate(
        {"identity": url, "authz": {"grpc": f"unix:{tmp_path}/authz.sock"}}
    )
    own_store, source = OwnStore(url, 365), await open_source(url)
    usage = UsageRows(lambda: config)
    metrics, pools = Metrics(), dict[str, KeyPool]()
    gateway = GatewayState(lambda: pools, metrics)
    sign_in = SignIn(clock=lambda: 0.0)
    pages = create_pages(Pages(own_store, sign_in, True, lambda: config, usage, gateway=gateway))
    app = create_app(source, metrics, pages=pages)
    yield Site(app, store, users, config, usage, own_store, pools, metrics)
    await usage.close()
    await own_store.close()
    await source.close()
    await store.close()
