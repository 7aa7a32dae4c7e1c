"""The clients that are quick to install, run by ``make test``: the SDKs in Python and in Node.

The lines are those of their pages in docs/clients. ``make test-clients`` tests the other clients,
and the modes of the Python SDKs that tests/e2e already covers.
"""

import sys
from pathlib import Path

import pytest

from authz.clients.catalog import DENIED, MODES, clients
from tests.clients.cases import cases, check
from tests.clients.installing import Installed, NotInstalledError, install
from tests.e2e.proxy.pairs import Proxied

PYTHON = ("openai-python", "anthropic-python")
PYTHON_MODES = ("subscription", "proxy-byok", "proxy-subscription", DENIED)
NODE = ("openai-node", "anthropic-node")
_INSTALL_SECONDS = 60


def _cases(names: tuple[str, ...], modes: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(name, mode, kind, id=f"{name}-{mode}-{kind}")
        for name in names
        for mode, kind in cases(clients()[name])
        if mode in modes
    ]


@pytest.fixture(scope="session")
def node_sdks() -> dict[str, Installed]:
    """Both SDKs from npm, kept between runs."""
    try:
        return {name: install(clients()[name], _INSTALL_SECONDS) for name in NODE}
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "mode", "kind"), _cases(PYTHON, PYTHON_MODES))
def test_python(name: str, mode: str, kind: str, proxied: Proxied) -> None:
    """The lines for this SDK, of the test extra, yield a streamed answer or a refusal by authz."""
    there = Installed(Path(sys.executable).parent)
    check(clients()[name], mode, kind, there, proxied)


@pytest.mark.parametrize(("name", "mode", "kind"), _cases(NODE, (*MODES, DENIED)))
def test_node(
    node_sdks: dict[str, Installed], name: str, mode: str, kind: str, proxied: Proxied
) -> None:
    """The lines for this SDK, from npm, yield a streamed answer or a refusal by authz."""
    check(clients()[name], mode, kind, node_sdks[name], proxied)
