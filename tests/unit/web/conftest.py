"""The token API on a store of each kind, called without a network."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from starlette.applications import Starlette

from authz.config.settings import Config
from authz.identity.accounts import User
from authz.identity.open import open_source, open_store
from authz.identity.store import Store
from authz.metrics import Metrics
from authz.web.api.app import create_api
from authz.web.api.call import Services
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.server import from_envoy
from authz.web.sign_in import SignIn
from authz.web.usage_rows import UsageRows

PASSWORD = "correct horse battery"
PEER = "192.0.2.7"


@dataclass
class Api:
    """The API and the store behind it.

    Attributes:
        client: a client that calls as Envoy does, on its own listener.
        sign_in: the sign-in, with a clock that stands still.
        app: the application for callers without Envoy.
        own_store: the store that the API uses.
        usage: the recorded requests that the API reads.
    """

    client: httpx.AsyncClient
    store: Store
    sign_in: SignIn
    users: dict[str, User]
    tokens: dict[str, str]
    app: Starlette
    own_store: OwnStore
    usage: UsageRows

    async def call(
        self, who: str | None, method: str, path: str, **options: object
    ) -> httpx.Response:
        """Call the API as a user, with the token created for them."""
        headers = {"coder-session-token": self.tokens[who]} if who else {}
        headers |= options.pop("headers", {})  # type: ignore[call-overload]
        return await self.client.request(method, f"/api/v2{path}", headers=headers, **options)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _hashed() -> bytes:
    # A hash names its own cost, so a sign-in with this one is cheap.
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD).encode()


async def _filled(url: str) -> AsyncIterator[Api]:
    store = await open_store(url, create=True)
    users = {
        "root": await store.create_user("root", "root@example.com", role="owner"),
        "helper": await store.create_user("helper", "helper@example.com", role="user-admin"),
        "alice": await store.create_user("alice", "alice@example.com"),
        "bob": await store.create_user("bob", "bob@example.com"),
        "bot": await store.create_user("bot", service_account=True),
    }
    await store._database.execute(
        "UPDATE users SET hashed_password = $1 WHERE id = $2", _hashed(), users["alice"].id
    )
    tokens = {name: (await store.create_token(user, "main"))[0] for name, user in users.items()}
    own_store = OwnStore(url, 365)
    source = await open_source(url)
    sign_in = SignIn(clock=lambda: 0.0)
    config = Config.model_validate({"identity": url})
    usage = UsageRows(lambda: config)
    services = Services(
        own_store, sign_in, secure=True, providers=lambda: ["anthropic", "openai"], usage=usage
    )
    app = create_app(source, Metrics(), api=create_api(services))
    transport = httpx.ASGITransport(from_envoy(app), client=(PEER, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="https://gateway.test") as client:
        yield Api(client, store, sign_in, users, tokens, app, own_store, usage)
    await usage.close()
    await own_store.close()
    await source.close()
    await store.close()


@pytest.fixture
async def api(path: Path) -> AsyncIterator[Api]:
    """The API on SQLite with root, helper (user administrator), alice, bob and the machine bot."""
    async for filled in _filled(f"sqlite:///{path}"):
        yield filled


@pytest.fixture
async def any_api(store_url: str) -> AsyncIterator[Api]:
    """The API with the same users, on each database."""
    async for filled in _filled(store_url):
        yield filled
