"""Claude Code with a provider that stalls before or in its response; by ``make test-clients``."""

import pytest

from tests.clients.cases import QUICK
from tests.clients.headless import claude_lines, installed, run_at
from tests.support.pair import Provider, pair
from tests.support.slow_origin import SlowOrigin

pytestmark = pytest.mark.timeout(1200)


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        ("silent", "The provider slow sent no response within 2 s"),
        ("stall", "Connection to the API was lost"),
    ],
)
def test_claude_code(provider: Provider, behaviour: str, text: str) -> None:
    """Claude Code shows the 504 after one request, and retries a stream that is cut."""
    there = installed("claude-code")
    with SlowOrigin() as origin, pair(provider, start=False) as gateway:
        providers = gateway.settings["providers"]
        anthropic = next(one for one in providers if one["name"] == "anthropic")
        url = f"http://127.0.0.1:{origin.port}"
        limits = {"first_byte_timeout": 2, "idle_timeout": 3}
        providers.append({**anthropic, "name": "slow", "base_url": url, **limits})
        gateway.start()
        gateway.create_user("alice")
        token = gateway.create_token("alice")
        lines = claude_lines(
            f"{gateway.url}/slow",
            ANTHROPIC_CUSTOM_HEADERS=f'"x-behave: {behaviour}"',
            CLAUDE_CODE_MAX_RETRIES="2",
        )
        ran = run_at(gateway, "claude-code", lines, there, token)
        print(ran)
        assert ran.status != 0, ran
        assert text in ran.output + ran.errors, ran
        if behaviour == "silent":
            assert ran.seconds < QUICK, ran
            assert len(origin.heads) == 1
        else:
            assert len(origin.heads) > 1
