"""Limits that all replicas count together, through a real Envoy."""

import contextlib
import json
import signal
import socket
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest
import yaml

from tests.support.pair import Pair, Provider, pair, wait_until

_USERS = {
    "alice": {"requests_per_minute": 2},
    "bob": {"concurrent_requests": 1},
    "carol": {"tokens_per_minute": 5},
}
_SHARED = {"store": "sqlite:///./.authz/limits.db", "users": _USERS}
_BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def limited(provider: Provider) -> Iterator[Pair]:
    """A pair with two workers that count in the same file."""
    with pair(provider, limits={"shared": _SHARED}, authz={"workers": 2}) as running:
        for name in ("alice", "bob", "carol", "dave"):
            running.create_user(name)
        yield running


def _send(gateway: Pair, token: str) -> httpx.Response:
    headers = {"x-api-key": token}
    return httpx.post(f"{gateway.url}/anthropic/v1/messages", headers=headers, json=_BODY)


@contextlib.contextmanager
def _in_progress(gateway: Pair, token: str) -> Iterator[None]:
    """Send a request without its body, so that it stays in progress once it has passed."""
    gateway.provider.take()
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(
            b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: gateway\r\ncontent-length: 100\r\n"
            b"x-api-key: " + token.encode() + b"\r\n\r\n"
        )
        wait_until(gateway.provider.take, what="the request at the provider")
        yield


def test_requests_count_over_all_workers(limited: Pair) -> None:
    """The third request is refused whichever worker answers, and the SDKs read the refusal."""
    token = limited.create_token("alice")
    assert [_send(limited, token).status_code for _ in range(2)] == [200, 200]
    refused = _send(limited, token)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.json()["error"]["message"].startswith(
        'The limit of user "alice" is reached: 2 requests per minute.'
    )
    gpt = openai.OpenAI(base_url=f"{limited.url}/openai/v1", api_key=token, max_retries=0)
    with pytest.raises(openai.RateLimitError) as error:
        gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert error.value.code == "requests_limited"

    def lines() -> list[dict[str, object]]:
        found = [json.loads(line) for line in limited.stdout.splitlines() if line[:2] == '{"']
        return [line for line in found if line["status"] == 429 and line["user"] == "alice"]

    wait_until(lambda: len(lines()) == 2, what="the lines of the refusals")
    assert {line["reason"] for line in lines()} == {"requests_limited"}


def test_a_request_in_progress_holds_its_place(limited: Pair) -> None:
    """A second request is refused until the first has ended, and an SDK retries by itself."""
    token = limited.create_token("bob")
    with _in_progress(limited, token):
        refused = _send(limited, token)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["type"] == "rate_limit_error"
    claude = anthropic.Anthropic(
        base_url=f"{limited.url}/anthropic", auth_token=token, api_key=None, max_retries=9
    )
    message = claude.messages.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
    )
    assert message.usage.output_tokens


def test_tokens_count_when_the_answer_ends(limited: Pair) -> None:
    """The request that uses up the tokens passes, and those after its record are refused."""
    token = limited.create_token("carol")
    assert _send(limited, token).status_code == 200
    wait_until(lambda: _send(limited, token).status_code == 429, what="the refusal")
    refused = _send(limited, token)
    assert "5 tokens per minute" in refused.json()["error"]["message"]


def test_others_have_no_limit(limited: Pair) -> None:
    """A user without a limit is not counted."""
    token = limited.create_token("dave")
    with _in_progress(limited, token):
        assert {_send(limited, token).status_code for _ in range(5)} == {200}


def test_a_limit_that_is_set_while_the_gateway_runs(limited: Pair) -> None:
    """Every worker applies a limit that is set, and drops one that is removed, without a reload."""
    token = limited.create_token("dave")
    limited.command("limits", "set", "--user", "dave", "--requests-per-minute", "1")

    def statuses() -> set[int]:
        return {_send(limited, token).status_code for _ in range(8)}

    wait_until(lambda: statuses() == {429}, what="refusals by both workers")
    assert "1 requests per minute" in _send(limited, token).json()["error"]["message"]
    limited.command("limits", "remove", "--user", "dave")
    wait_until(lambda: statuses() == {200}, what="the end of the limit")


def test_a_reload_changes_limits(limited: Pair) -> None:
    """A higher limit in gateway.yaml applies at once after a reload, and earlier requests count."""
    token = limited.create_token("alice")
    assert [_send(limited, token).status_code for _ in range(3)][-1] == 429
    users = {**_USERS, "alice": {"requests_per_minute": 100}}
    settings = {**limited.settings, "limits": {"shared": {**_SHARED, "users": users}}}
    (limited.folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
    assert limited.process is not None
    limited.process.send_signal(signal.SIGHUP)
    wait_until(lambda: _send(limited, token).status_code == 200, what="the new limit")
