"""Requests per minute of each user."""

import json
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from tests.support.coder import Coder
from tests.support.pair import OWN_KEYS, Pair, Provider, pair, wait_until
from tests.support.tokens import altered

LIMITS = {"requests_per_minute": 3, "users": {"bob": 5, "robot": None}}


@pytest.fixture(scope="module")
def limited(provider: Provider) -> Iterator[Pair]:
    """A pair with limits."""
    with pair(provider, limits=LIMITS) as running:
        for name in ("alice", "bob", "robot", "carol", "dave"):
            running.create_user(name)
        yield running


def _statuses(gateway: Pair, token: str, count: int, own: str = "") -> list[int]:
    headers = {"x-coder-ai-governance-token": token} | ({"x-api-key": own} if own else {})
    url = f"{gateway.url}/anthropic/v1/messages/count_tokens"
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    with httpx.Client(headers=headers) as client:
        return [client.post(url, json=body).status_code for _ in range(count)]


def test_each_user_alone(limited: Pair) -> None:
    """A user's tokens share one limit in both modes, and other users have their own or none."""
    first, second = (limited.create_token("alice") for _ in range(2))
    assert _statuses(limited, first, 2) == [200, 200]
    assert _statuses(limited, second, 2, OWN_KEYS["anthropic"]) == [200, 429]
    assert _statuses(limited, limited.create_token("bob"), 6) == [200] * 5 + [429]
    assert _statuses(limited, limited.create_token("robot"), 20) == [200] * 20


def test_refused_requests_do_not_count(limited: Pair) -> None:
    """A bad token is refused as usual, and uses up no limit."""
    token = limited.create_token("carol")
    assert _statuses(limited, altered(token), 5) == [401] * 5
    assert _statuses(limited, token, 3) == [200] * 3


def test_the_sdks_understand_it(limited: Pair) -> None:
    """A 429 with Retry-After raises the SDKs' own error class, and the log names the user."""
    token = limited.create_token("dave")
    assert _statuses(limited, token, 4)[-1] == 429
    claude = anthropic.Anthropic(
        base_url=f"{limited.url}/anthropic", auth_token=token, api_key=None, max_retries=0
    )
    with pytest.raises(anthropic.RateLimitError) as by_claude:
        claude.messages.count_tokens(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert by_claude.value.response.headers["retry-after"] == "20"
    assert by_claude.value.response.json()["error"]["type"] == "rate_limit_error"
    gpt = openai.OpenAI(base_url=f"{limited.url}/openai/v1", api_key=token, max_retries=0)
    with pytest.raises(openai.RateLimitError):
        gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])

    def lines() -> list[dict[str, object]]:
        found = [json.loads(line) for line in limited.stdout.splitlines() if line[:2] == '{"']
        return [line for line in found if line["status"] == 429 and line["user"] == "dave"]

    wait_until(lambda: len(lines()) == 3, what="the lines of the refusals")
    assert {line["details"] for line in lines()} == {"local_rate_limited"}


@pytest.mark.parametrize("limits", [{"requests_per_minute": 5}, {"users": {"bob": 5, "carol": 9}}])
def test_a_token_that_can_not_read_its_user(provider: Provider, limits: dict[str, object]) -> None:
    """A narrow token of Coder's has its own limit, and log and usage name the token."""
    with Coder().running() as coder:
        coder.state.create_user("alice")
        first, second = (
            coder.state.create_key("alice", scopes=["workspace:read"]) for _ in range(2)
        )
        whole = coder.state.create_key("alice")
        usage = {"database": "sqlite:///./usage.db", "metrics_by_user": True}
        with pair(provider, identity=coder.url, limits=limits, usage=usage) as running:
            for token in (first, second):
                assert _statuses(running, token, 7) == [200] * 5 + [429] * 2
            expected = [200] * 5 + ([429] if "users" not in limits else [200])
            assert _statuses(running, whole, 6) == expected
            name = f"token:{first[:10]}"

            def lines() -> list[dict[str, object]]:
                found = [
                    json.loads(line) for line in running.stdout.splitlines() if line[:2] == '{"'
                ]
                return [line for line in found if line.get("token_id") == first[:10]]

            wait_until(lambda: len(lines()) == 7, what="the lines of the token")
            assert {line["user"] for line in lines()} == {name}
