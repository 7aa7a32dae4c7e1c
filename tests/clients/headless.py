"""Claude Code and Codex at a gateway of a test's own: their lines, and a run of them."""

import json
from types import SimpleNamespace
from typing import cast

import pytest

from authz.clients.catalog import clients
from tests.clients.installing import Installed, NpmMissingError, install
from tests.clients.running import Ran, run
from tests.e2e.proxy.pairs import Proxied
from tests.support.pair import Pair


def claude_lines(base_url: str, **environ: str) -> str:
    """Return the lines that ask Claude Code for an answer to "Hello".

    Args:
        base_url: of the provider at the gateway.
        environ: further variables.
    """
    variables = {
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_AUTH_TOKEN": '"$CODER_TOKEN"',
        **environ,
    }
    exports = "\n".join(f"export {name}={value}" for name, value in variables.items())
    return f'{exports}\nclaude -p "Hello"\n'


def codex_lines(base_url: str, *, sockets: bool, own: bool = False, **settings: str) -> str:
    """Return the lines that ask Codex for an answer to "Hello".

    Args:
        base_url: of the provider at the gateway.
        sockets: whether Codex may ask over a WebSocket.
        own: whether the user has a key of their own.
        settings: further ones of the provider, in TOML.
    """
    table = {
        "name": '"gateway"',
        "base_url": json.dumps(base_url),
        "env_key": '"OPENAI_API_KEY"',
        "wire_api": '"responses"',
        "supports_websockets": str(sockets).lower(),
        **settings,
    }
    if own:
        table["env_http_headers"] = '{"X-Coder-AI-Governance-Token"="CODER_TOKEN"}'
    values = ", ".join(f"{name}={value}" for name, value in table.items())
    return (
        f'export CODER_TOKEN OPENAI_API_KEY="{"$OPENAI_API_KEY" if own else "$CODER_TOKEN"}"\n'
        "codex exec --skip-git-repo-check -c model_provider=gateway "
        f"-c 'model_providers.gateway={{{values}}}' Hello"
    )


def installed(client: str) -> Installed:
    """Return a client; without npm the test is skipped."""
    try:
        return install(clients()[client])
    except NpmMissingError as error:
        pytest.skip(str(error))


def run_at(gateway: Pair, client: str, lines: str, there: Installed, token: str) -> Ran:
    """Run a client's lines with a Coder token, in the mode centralized."""
    paired = cast(Proxied, SimpleNamespace(pair=gateway))
    return run(client, lines, there, paired, token, "centralized")
