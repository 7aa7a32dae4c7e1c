"""The pages with a real OpenID provider, and a browser that goes between both."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from authz.config.settings import Config
from authz.identity.open import open_source, open_store
from authz.identity.store import Store
from authz.metrics import Metrics
from authz.oidc.pages import OidcPages
from authz.web.api.app import create_api
from authz.web.api.call import Services
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.pages.app import create_pages
from authz.web.pages.context import Pages
from authz.web.sign_in import SignIn
from authz.web.usage_rows import UsageRows
from tests.support.browsing import Browser, Parsed
from tests.support.certificates import Authority
from tests.support.openid import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, openid_provider

ORIGIN = "https://gateway.test"
PEER = "192.0.2.7"
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the identity providers."""
    return Authority(tmp_path_factory.mktemp("openid-ca"), "openid-ca")


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> tuple[Path, Path]:
    """The certificate of all identity providers."""
    return authority.issue()


@pytest.fixture(scope="session")
def openid(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[OpenIdProvider]:
    """The real OpenID provider, one for all tests."""
    folder = tmp_path_factory.mktemp("openid")
    with openid_provider(folder, certificate, ORIGIN) as provider:
        yield provider


@dataclass
class Person(Browser):
    """A person with a browser that follows links from site to site.

    Attributes:
        visited: the URLs, in order.
    """

    visited: list[str] = field(default_factory=list)

    async def open(self, url: str, **options: Any) -> Parsed:
        """Open a URL and follow its redirects."""
        method = options.pop("method", "GET")
        for _ in range(20):
            self.visited.append(url)
            self.last = await self.client.request(method, url, **options)
            if self.last.status_code not in REDIRECTS:
                return Parsed(self.last.text)
            url = urljoin(url, self.last.headers["location"])
            method, options = "GET", {}
        raise AssertionError(self.visited)

    async def until_callback(self, account: str, start: str = "/ui/sign-in/company") -> str:
        """Sign in at the provider, and return the URL that leads back, without opening it."""
        url, method, data = f"{ORIGIN}{start}", "GET", None
        for _ in range(30):
            self.last = await self.client.request(method, url, data=data)
            self.visited.append(url)
            if self.last.status_code in REDIRECTS:
                url, method, data = urljoin(url, self.last.headers["location"]), "GET", None
                if url.startswith(ORIGIN):
                    return url
                continue
            assert self.last.status_code == 200, self.last.text
            form = Parsed(self.last.text).one("form")
            fields = {
                one.attributes["name"]: one.attributes.get("value", "")
                for one in Parsed(self.last.text).all("input")
                if "name" in one.attributes
            }
            # oidc-provider calls it login, Keycloak username.
            data = {**fields, "login": account, "username": account, "password": "any"}
            url, method = urljoin(url, form.attributes["action"]), "POST"
        raise AssertionError(self.visited)

    async def enter(self, account: str, start: str = "/ui/sign-in/company") -> Parsed:
        """Sign in with the provider."""
        return await self.open(await self.until_callback(account, start))


@dataclass
class Gateway:
    """The pages and the token API, with providers to sign in with."""

    app: Any
    store: Store
    authority: Authority
    oidc: OidcPages
    browsers: list[httpx.AsyncClient] = field(default_factory=list)

    def person(self) -> Person:
        """Return a person whose browser was never here."""
        here = httpx.ASGITransport(self.app, client=(PEER, 1234))
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        there = httpx.AsyncHTTPTransport(verify=context)
        client = httpx.AsyncClient(transport=there, mounts={ORIGIN: here}, base_url=ORIGIN)
        self.browsers.append(client)
        return Person(client, ORIGIN)


@asynccontextmanager
async def running_gateway(
    url: str, folder: Path, authority: Authority, sign_in: dict[str, Any], *, create: bool = True
) -> AsyncIterator[Gateway]:
    """Run a gateway without a network."""
    store = await open_store(url, create=create)
    config = Config.model_validate(
        {"identity": url, "authz": {"grpc": f"unix:{folder}/authz.sock"}, "sign_in": sign_in}
    )
    own_store, source = OwnStore(url, 365), await open_source(url)
    usage = UsageRows(lambda: config)
    oidc = OidcPages(config)
    signing = SignIn(clock=lambda: 0.0, passwords=config.sign_in.passwords)
    pages = Pages(own_store, signing, True, lambda: config, usage)
    pages = replace(pages, providers=oidc.titles, end_session=oidc.end_session)
    api = create_api(Services(own_store, signing, True, lambda: []))
    app = create_app(source, Metrics(), api=api, pages=create_pages(pages, oidc.pages))
    running = Gateway(app, store, authority, oidc)
    yield running
    for browser in running.browsers:
        await browser.aclose()
    await oidc.close()
    await usage.close()
    await own_store.close()
    await source.close()
    await store.close()


def company(
    issuer: str, authority: Authority, folder: Path, name: str = "company", **changed: Any
) -> dict[str, Any]:
    """Return the settings of a provider."""
    secret = folder / "client-secret"
    secret.write_text(CLIENT_SECRET)
    return {
        "name": name,
        "title": "Acme",
        "issuer": issuer,
        "client_id": CLIENT_ID,
        "client_secret": {"file": str(secret)},
        "ca_file": str(authority.ca_file),
        **changed,
    }


@pytest.fixture
async def gateway(
    path: Path, tmp_path: Path, authority: Authority, openid: OpenIdProvider
) -> AsyncIterator[Gateway]:
    """A gateway without passwords, on SQLite, whose owners are the group admins."""
    settings = {
        "url": ORIGIN,
        "passwords": False,
        "oidc": [
            company(openid.issuer, authority, tmp_path, roles={"owner": ["admins"]}),
        ],
    }
    async with running_gateway(f"sqlite:///{path}", tmp_path, authority, settings) as running:
        yield running


@pytest.fixture
async def any_gateway(
    store_url: str, tmp_path: Path, authority: Authority, openid: OpenIdProvider
) -> AsyncIterator[Gateway]:
    """A gateway on a store of each kind, for the groups dev and admins and for example.com."""
    settings = {
        "url": ORIGIN,
        "oidc": [
            company(
                openid.issuer,
                authority,
                tmp_path,
                allowed_groups=["dev", "admins"],
                allowed_email_domains=["example.com"],
                roles={"owner": ["admins"], "user_admin": ["helpdesk"]},
            ),
        ],
    }
    async with running_gateway(store_url, tmp_path, authority, settings) as running:
        yield running
