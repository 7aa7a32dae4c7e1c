"""Clients whose token is deleted in the middle of an answer; run by ``make test-clients``."""

import threading
from collections.abc import Callable, Iterator

import anthropic
import httpx2
import openai
import pytest

from tests.clients.cases import ANSWER, QUICK, REFUSED
from tests.clients.headless import claude_lines, codex_lines, installed, run_at
from tests.clients.running import Ran
from tests.support.pair import Pair, pair, stand_in, wait_until

pytestmark = pytest.mark.timeout(1200)
PAUSE = 20.0
"""Seconds between two pieces of an answer, so that a whole answer takes minutes."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Pair]:
    """A pair that ends open streams, with a provider that answers slowly."""
    with (
        stand_in(chunk_delay=PAUSE) as provider,
        pair(provider, revocation={"end_streams": True}) as running,
    ):
        running.create_user("alice")
        yield running


def _lines(client: str, url: str, *, sockets: bool) -> str:
    if client == "claude-code":
        return claude_lines(f"{url}/anthropic")
    return codex_lines(f"{url}/openai/v1", sockets=sockets)


@pytest.mark.parametrize(
    ("client", "sockets"),
    [("claude-code", False), ("codex", False), ("codex", True)],
    ids=["claude-code", "codex", "codex-websocket"],
)
def test_a_client_says_why_it_was_cut(gateway: Pair, client: str, sockets: bool) -> None:
    """The answer is cut, the client asks again, and it ends with our text about the token."""
    there, token = installed(client), gateway.create_token("alice")
    found: list[Ran] = []
    lines = _lines(client, gateway.url, sockets=sockets)
    gateway.provider.take()
    runs = threading.Thread(
        target=lambda: found.append(run_at(gateway, client, lines, there, token))
    )
    runs.start()
    path = "/messages" if client == "claude-code" else "/responses"
    wait_until(
        lambda: any(one.path.endswith(path) for one in gateway.provider.seen), QUICK, "a request"
    )
    gateway.delete_token(token)
    runs.join()
    (ran,) = found
    print(ran)
    assert ran.status != 0, ran
    assert REFUSED in ran.output + ran.errors, ran
    assert ANSWER not in ran.output, ran


def test_the_sdk_of_anthropic_raises(gateway: Pair) -> None:
    """A stream that is cut raises, and the error of the next request gives the reason."""
    token = gateway.create_token("alice")
    client = anthropic.Anthropic(
        base_url=f"{gateway.url}/anthropic", auth_token=token, api_key=None, max_retries=0
    )

    def ask() -> Iterator[object]:
        return iter(
            client.messages.create(
                model="claude-sonnet-5",
                max_tokens=100,
                messages=[{"role": "user", "content": "Hello"}],
                stream=True,
            )
        )

    _assert_cut(gateway, token, ask, httpx2.RemoteProtocolError, anthropic.AuthenticationError)


def test_the_sdk_of_openai_raises(gateway: Pair) -> None:
    """A stream that is cut raises, and the error of the next request gives the reason."""
    token = gateway.create_token("alice")
    client = openai.OpenAI(base_url=f"{gateway.url}/openai/v1", api_key=token, max_retries=0)

    def ask() -> Iterator[object]:
        return iter(
            client.chat.completions.create(
                model="gpt-5", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
        )

    _assert_cut(gateway, token, ask, openai.APIConnectionError, openai.AuthenticationError)


def _assert_cut(
    gateway: Pair,
    token: str,
    ask: Callable[[], Iterator[object]],
    cut: type[Exception],
    refused: type[Exception],
) -> None:
    stream = ask()
    next(stream)
    gateway.delete_token(token)
    with pytest.raises(cut) as raised:
        list(stream)
    print(f"{cut.__name__}: {raised.value}")
    with pytest.raises(refused, match=REFUSED):
        ask()
