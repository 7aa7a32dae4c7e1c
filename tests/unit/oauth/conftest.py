"""An issuer of JWTs over HTTPS, and authz's view of it."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from authz.oauth.issuers import Issuer
from tests.support.certificates import Authority
from tests.support.issuer import IssuerServer, issuer_server
from tests.unit.oauth.endpoint import Endpoint, running_endpoint


@dataclass
class Clock:
    """A clock that a test turns forward.

    Attributes:
        ahead: seconds that it is ahead of the real one.
    """

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="session")
def issuer_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the issuer."""
    return Authority(tmp_path_factory.mktemp("issuer"), "issuer-ca")


@pytest.fixture(scope="session")
def certificate(issuer_authority: Authority) -> tuple[Path, Path]:
    """The certificate of issuers, made once: a server may still read its files."""
    return issuer_authority.issue()


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[IssuerServer]:
    """The issuer's server."""
    with issuer_server(certificate) as served:
        yield served


@pytest.fixture
def clock() -> Clock:
    """The clock of the issuer's verifier."""
    return Clock()


@pytest.fixture
async def issuer(
    server: IssuerServer, issuer_authority: Authority, clock: Clock
) -> AsyncIterator[Issuer]:
    """The verifier of the server's JWTs."""
    one = Issuer(server.url, ca_file=issuer_authority.ca_file, clock=clock)
    yield one
    await one.close()


@pytest.fixture
async def endpoint(
    path: Path, server: IssuerServer, issuer_authority: Authority
) -> AsyncIterator[Endpoint]:
    """The endpoint, for one repository and one namespace, on SQLite."""
    async with running_endpoint(f"sqlite:///{path}", server, issuer_authority) as running:
        yield running


@pytest.fixture
async def any_endpoint(
    store_url: str, server: IssuerServer, issuer_authority: Authority
) -> AsyncIterator[Endpoint]:
    """The endpoint on a store of each kind."""
    async with running_endpoint(store_url, server, issuer_authority) as running:
        yield running


@pytest.fixture
async def single_use(
    store_url: str, server: IssuerServer, issuer_authority: Authority
) -> AsyncIterator[Endpoint]:
    """The endpoint on a store of each kind, where a JWT may be exchanged once."""
    async with running_endpoint(store_url, server, issuer_authority, single_use=True) as running:
        yield running
