"""Each client in each mode; not collected by ``make test``, since it installs gigabytes."""

from collections.abc import Callable, Iterator

import pytest

from authz.clients.catalog import GREEN, Client, clients
from tests.clients.cases import SLOW, cases, check
from tests.clients.installing import NotInstalledError, NpmMissingError, install
from tests.e2e.proxy import pairs
from tests.e2e.proxy.pairs import Proxied

Record = Callable[[str, str, str, str], None]
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def slow() -> Iterator[Proxied]:
    """A pair with the proxy on, and a provider that takes its time between pieces."""
    with pairs.proxied(SLOW) as running:
        yield running


@pytest.mark.parametrize(
    ("client", "mode", "kind"),
    [
        pytest.param(client, mode, kind, id=f"{client.name}-{mode}-{kind}")
        for client in clients().values()
        for mode, kind in cases(client)
    ],
)
def test_client(client: Client, mode: str, kind: str, slow: Proxied, record: Record) -> None:
    """The pasted lines bring the answer's text, and the provider sees one right credential."""
    try:
        there = install(client)
    except NpmMissingError as error:
        pytest.skip(str(error))
    except NotInstalledError as error:
        record(client.name, mode, kind, f"not installed: {error}")
        raise
    try:
        print(check(client, mode, kind, there, slow, slow=True))
    except AssertionError as error:
        record(client.name, mode, kind, f"red: {str(error).splitlines()[0][:100]}")
        raise
    record(client.name, mode, kind, GREEN)
