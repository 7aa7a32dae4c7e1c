"""Answers of a provider pass unchanged, and changes apply to the next request."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from authz.files import write_whole
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair, pair, stand_in, wait_until
from tests.support.requests import MODELS, check_refusal, one

GOVERNANCE = "X-Coder-AI-Governance-Token"
CHUNK_DELAY = 0.15


@pytest.fixture(scope="module")
def token(gateway: Pair) -> str:
    """A token of alice."""
    return gateway.create_token("alice")


@pytest.fixture(scope="module")
def slow_gateway() -> Iterator[Pair]:
    """A separate pair, whose provider pauses between two pieces of an answer."""
    with stand_in(chunk_delay=CHUNK_DELAY) as provider, pair(provider) as running:
        running.create_user("alice")
        yield running


def _call(name: str, model: str, **options: Any) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": model, "max_tokens": 8, "messages": messages, **options}
    path = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}[name]
    return path, body


def _both(gateway: Pair, token: str, name: str, model: str) -> list[httpx.Response]:
    """Ask the provider directly with its key, and through the gateway with the token."""
    path, body = _call(name, model)
    direct = {"anthropic": {"x-api-key": CENTRAL_KEYS[name]}}.get(
        name, {"authorization": f"Bearer {CENTRAL_KEYS[name]}"}
    )
    through = {"authorization": f"Bearer {token}"}
    return [
        httpx.post(f"{gateway.provider.server.url}/{name}{path}", headers=direct, json=body),
        httpx.post(f"{gateway.url}/{name}{path}", headers=through, json=body),
    ]


def _comparable(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    # The gateway does not ask for compression, so the provider says nothing of it.
    changing = {"date", "connection", "request-id", "x-request-id", "content-length", "vary"}
    changing.add("content-encoding")
    headers = {name: value for name, value in answer.headers.items() if name not in changing}
    # Envoy frames a body by itself.
    headers.pop("transfer-encoding", None)
    body = answer.json()
    body.pop("request_id", None)
    return answer.status_code, headers, body


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize("status", [400, 429, 500, 529])
def test_a_providers_error_passes_as_it_came(
    gateway: Pair, token: str, name: str, status: int
) -> None:
    """Status, headers and body are the provider's own, and the provider is asked only once."""
    gateway.provider.take()
    direct, through = _both(gateway, token, name, f"fail-{status}")
    assert _comparable(through) == _comparable(direct)
    assert through.status_code == status
    assert through.headers.get("retry-after") == ("7" if status == 429 else None)
    assert len(gateway.provider.take()) == 2


def test_a_providers_401_passes_as_it_came(gateway: Pair, token: str) -> None:
    """A provider's refusal of the user's own key is passed on as the provider's, not as ours."""
    wrong = {GOVERNANCE: token, "x-api-key": "sk-ant-own-but-wrong"}
    exchanged = one(gateway, "GET", MODELS["anthropic"], wrong)
    assert exchanged.answer.status_code == 401
    assert exchanged.answer.json()["error"]["message"] == "invalid x-api-key"
    assert "x-should-retry" not in exchanged.answer.headers
    assert "www-authenticate" not in exchanged.answer.headers


@pytest.mark.parametrize(
    ("name", "event"), [("anthropic", "overloaded_error"), ("openai", "server_error")]
)
def test_an_error_in_a_stream_passes_as_it_came(
    gateway: Pair, token: str, name: str, event: str
) -> None:
    """A stream arrives up to its error, and then the error in the provider's own words."""
    path, body = _call(name, "error-midstream", stream=True)
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.post(f"{gateway.url}/{name}{path}", headers=headers, json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert len(data) == 6
    assert json.loads(data[-1])["error"]["type"] == event


def test_a_broken_stream_is_broken(gateway: Pair, token: str) -> None:
    """A stream that the provider drops does not look complete to the client."""
    path, body = _call("anthropic", "abort-midstream", stream=True)
    pieces: list[bytes] = []
    with (
        httpx.stream(
            "POST", f"{gateway.url}/anthropic{path}", headers={"x-api-key": token}, json=body
        ) as answer,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        pieces.extend(answer.iter_bytes())
    assert b"message_start" in b"".join(pieces)


@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_events_arrive_one_by_one(slow_gateway: Pair, name: str) -> None:
    """Pieces are not held back: they arrive with the provider's pauses."""
    token = slow_gateway.create_token("alice")
    path, body = _call(name, "any", stream=True)
    headers = {"authorization": f"Bearer {token}"}
    url = f"{slow_gateway.url}/{name}{path}"

    def one_by_one() -> bool:
        times = []
        with httpx.stream("POST", url, headers=headers, json=body, timeout=60) as answer:
            for _ in answer.iter_raw():
                times.append(time.monotonic())
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        waits = [gap for gap in gaps if gap > CHUNK_DELAY / 3]
        # The stand-in's text has five pieces or more, so four waits; one may coincide by chance.
        return len(waits) >= 3 and max(gaps) < CHUNK_DELAY * 5

    # A busy machine may hold pieces back. A gateway that does so would do it every time.
    wait_until(one_by_one, 10, "the provider's pauses")


def test_a_deleted_token_ends_with_the_next_request(gateway: Pair) -> None:
    """A token that another process removes is 401 at once."""
    created = gateway.command("tokens", "create", "--user", "alice", "--name", "to-be-removed")
    token = created.stdout.strip()
    headers = {"x-api-key": token}
    assert one(gateway, "GET", MODELS["anthropic"], headers).answer.status_code == 200
    gateway.command("tokens", "remove", token[:10], "--user", "alice", "--delete")
    refused = one(gateway, "GET", MODELS["anthropic"], headers)
    check_refusal(refused, 401, "authentication_error", "anthropic")


def test_a_suspended_user_ends_with_the_next_request(gateway: Pair) -> None:
    """All tokens of a user whom another process suspends are 401 at once, until reactivated."""
    gateway.create_user("carol")
    headers = {"x-api-key": gateway.create_token("carol")}
    assert one(gateway, "GET", MODELS["openai"], headers).answer.status_code == 200
    gateway.command("users", "suspend", "carol")
    refused = one(gateway, "GET", MODELS["openai"], headers)
    check_refusal(refused, 401, "authentication_error", "openai")
    gateway.command("users", "activate", "carol")
    assert one(gateway, "GET", MODELS["openai"], headers).answer.status_code == 200


def test_an_open_stream_outlives_its_token(slow_gateway: Pair) -> None:
    """A token is checked only at the beginning, so its open stream may finish."""
    token = slow_gateway.create_token("alice")
    path, body = _call("anthropic", "any", stream=True)
    url = f"{slow_gateway.url}/anthropic{path}"
    pieces: list[bytes] = []
    with httpx.stream("POST", url, headers={"x-api-key": token}, json=body) as answer:
        for piece in answer.iter_bytes():
            if not pieces:
                slow_gateway.delete_token(token)
            pieces.append(piece)
    assert b"message_stop" in b"".join(pieces)


def test_a_replaced_key_file_counts_for_the_next_request(slow_gateway: Pair) -> None:
    """A new central key is used without a restart, and a missing file changes nothing."""
    running = slow_gateway
    token = running.create_token("alice")
    key_file = running.folder / "anthropic.key"

    def credential() -> list[str]:
        (seen,) = one(running, "GET", MODELS["anthropic"], {"x-api-key": token}).seen
        return seen.all("x-api-key")

    assert credential() == [CENTRAL_KEYS["anthropic"]]
    write_whole(key_file, f"{OWN_KEYS['anthropic']}\n")
    assert credential() == [OWN_KEYS["anthropic"]]
    key_file.unlink()
    assert credential() == [OWN_KEYS["anthropic"]]
    key_file.write_text("two words")
    assert credential() == [OWN_KEYS["anthropic"]]
    key_file.write_text(CENTRAL_KEYS["anthropic"])
    assert credential() == [CENTRAL_KEYS["anthropic"]]
    assert not [key for key in (*CENTRAL_KEYS.values(), token) if key in running.stderr]


async def test_a_large_body_passes_unchanged(gateway: Pair, token: str) -> None:
    """Bodies larger than any buffer are streamed on, not collected."""
    chunk = b"0123456789abcdef" * 4096
    count = 200

    async def body() -> Any:
        for _ in range(count):
            yield chunk
            await asyncio.sleep(0)

    headers = {"x-api-key": token, "content-type": "application/octet-stream"}
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(
            f"{gateway.url}/anthropic/v1/messages", headers=headers, content=body()
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == count * len(chunk)
