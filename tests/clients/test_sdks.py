"""The clients that are quickly there, run by ``make test``: the SDKs in Python and in Node.

The lines are those of their pages in docs/clients. The others come with ``make test-clients``.
"""

import sys
from pathlib import Path

import pytest

from authz.clients.catalog import clients
from tests.clients.cases import cases, check
from tests.clients.installing import Installed, NotInstalledError, install
from tests.e2e.proxy.pairs import Proxied

PYTHON = ("openai-python", "anthropic-python")
NODE = ("openai-node", "anthropic-node")
_INSTALL_SECONDS = 60


def _all(names: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(name, mode, kind, id=f"{name}-{mode}-{kind}")
        for name in names
        for mode, kind in cases(clients()[name])
    ]


@pytest.fixture(scope="session")
def node_sdks() -> dict[str, Installed]:
    """Both SDKs from npm, kept between runs."""
    try:
        return {name: install(clients()[name], _INSTALL_SECONDS) for name in NODE}
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "mode", "kind"), _all(PYTHON))
def test_python(name: str, mode: str, kind: str, proxied: Proxied) -> None:
    """The lines for this SDK, of the test extra, bring a streamed answer or our refusal."""
    there = Installed(Path(sys.executable).parent)
    check(clients()[name], mode, kind, there, proxied)


@pytest.mark.parametrize(("name", "mode", "kind"), _all(NODE))
def test_node(
    node_sdks: dict[str, Installed], name: str, mode: str, kind: str, proxied: Proxied
) -> None:
    """The lines for this SDK, from npm, bring a streamed answer or our refusal."""
    check(clients()[name], mode, kind, node_sdks[name], proxied)
