"""Connections to a provider that are kept open for the next request."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.origin import Impatient
from tests.support.pair import CENTRAL_KEYS, Pair, pair, wait_until


@pytest.fixture(scope="module")
def origin() -> Iterator[Impatient]:
    """A provider that resets a connection at its second request."""
    with Impatient("{}") as running:
        yield running


@pytest.fixture(scope="module")
def kept(origin: Impatient) -> Iterator[Pair]:
    """A pair in front of it, with one connection at a time."""
    with pair(start=False, envoy={"concurrency": 1}) as running:
        for provider in running.settings["providers"]:
            if provider["name"] == "anthropic":
                provider["base_url"] = f"http://127.0.0.1:{origin.port}"
        running.start()
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def client(kept: Pair) -> Iterator[httpx.Client]:
    """A client with a good token."""
    headers = {"x-api-key": kept.create_token("alice")}
    with httpx.Client(base_url=f"{kept.url}/anthropic/v1", headers=headers) as running:
        yield running


def test_get_is_sent_again(client: httpx.Client, origin: Impatient) -> None:
    """A GET whose kept connection is reset without an answer is sent again on a new one."""
    assert client.get("/models").status_code == 200
    before = len(origin.heads)
    assert client.get("/models").status_code == 200
    assert len(origin.heads) == before + 2
    for head in origin.heads[before:]:
        assert f"x-api-key: {CENTRAL_KEYS['anthropic']}".encode() in head.lower()


def test_post_is_not_sent_again(client: httpx.Client, origin: Impatient) -> None:
    """A POST that the provider may have read is not sent again, as it could be paid for twice."""
    wait_until(lambda: origin.ended == origin.connections, 20, "no connection being kept")
    assert client.get("/models").status_code == 200
    before = len(origin.heads)
    answer = client.post("/messages", json={"model": "claude-sonnet-4-5"})
    assert answer.status_code == 503
    assert len(origin.heads) == before + 1


def test_unused_connection_is_closed_first(client: httpx.Client, origin: Impatient) -> None:
    """Envoy closes an idle connection before a server with a longer idle time does."""
    assert client.get("/models").status_code == 200
    wait_until(lambda: origin.ended == origin.connections, 15, "Envoy closing the connection")
    before = origin.connections
    answer = client.post("/messages", json={"model": "claude-sonnet-4-5"})
    assert answer.status_code == 200
    assert origin.connections == before + 1
