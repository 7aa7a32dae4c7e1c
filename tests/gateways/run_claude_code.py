"""Claude Code through a live Envoy Gateway with the printed manifests."""

from types import SimpleNamespace
from typing import cast

import pytest

from authz.clients.catalog import clients
from tests.clients.cases import ANSWER
from tests.clients.installing import NotInstalledError, NpmMissingError, install
from tests.clients.running import Ran, run
from tests.e2e.proxy.pairs import Proxied
from tests.gateways.envoy_gateway import VERSIONS, live_envoy_gateway
from tests.support.pair import CENTRAL_KEYS, Provider

pytestmark = pytest.mark.timeout(1200)
LINES = """\
export ANTHROPIC_BASE_URL=http://127.0.0.1:{port}/anthropic
export ANTHROPIC_AUTH_TOKEN="$CODER_TOKEN"
claude -p "Hello"
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_prompt_and_a_revoked_token(version: str, provider: Provider) -> None:
    """Claude Code prints the answer, and its next prompt is refused once its token is deleted."""
    try:
        there = install(clients()["claude-code"])
    except (NpmMissingError, NotInstalledError) as error:
        pytest.skip(str(error))
    with live_envoy_gateway(provider, version) as running:
        token = running.create_token("alice")

        def prompt() -> Ran:
            (port,) = running.ports.values()
            paired = cast(Proxied, SimpleNamespace(pair=running))
            return run("claude-code", LINES.format(port=port), there, paired, token, "centralized")

        provider.take()
        ran = prompt()
        assert ran.status == 0, ran
        assert ANSWER in ran.output, ran
        seen = [one for one in provider.take() if one.path.endswith("/v1/messages")]
        assert seen
        for visit in seen:
            text = "\n".join(value for _, value in visit.headers)
            assert token.partition("-")[2] not in text
            assert CENTRAL_KEYS["anthropic"] in text
        running.delete_token(token)
        ran = prompt()
        assert ran.status != 0, ran
        assert "The Coder token is not valid" in ran.output + ran.errors, ran
        assert [one for one in provider.take() if one.path.endswith("/v1/messages")] == []
