"""An unreachable identity source: 503 in time, recovery by itself, and tokens seen before."""

import time
from collections.abc import Iterator

import httpx
import pytest

from authz.envoy.filters import TRY_SECONDS
from tests.support.canned import INTERNAL_ERROR, USERS_ME, Canned
from tests.support.coder import Coder
from tests.support.pair import BUSY, free_port
from tests.support.replicas import Asker, Replicas, askers, replicas


@pytest.fixture(scope="module")
def coder() -> Coder:
    """A Coder deployment, started and stopped by the tests."""
    return Coder()


@pytest.fixture(scope="module")
def port() -> int:
    """The port of the Coder deployment while it runs."""
    return free_port()


@pytest.fixture(scope="module")
def strict(port: int) -> Iterator[Replicas]:
    """An authz that caches nothing for an outage."""
    with replicas(1, f"http://127.0.0.1:{port}") as running:
        yield running


@pytest.fixture(scope="module")
def lenient(port: int) -> Iterator[Replicas]:
    """An authz that may accept tokens it has seen while Coder is unreachable."""
    with replicas(1, f"http://127.0.0.1:{port}", identity_stale_if_error="60s") as running:
        yield running


def _token(coder: Coder) -> str:
    coder.clear()
    coder.state.create_user("alice")
    return coder.state.create_key("alice")


async def _timed(asker: Asker, token: str) -> tuple[int, float]:
    began = time.monotonic()
    return await asker.status(token), time.monotonic() - began


async def test_no_answer_is_a_503_in_time(coder: Coder, port: int, strict: Replicas) -> None:
    """Every kind of failure of Coder is a 503 before Envoy's timeout, and then a 200 again."""
    async with askers(strict) as (asker,):
        with coder.running(port=port):
            token = _token(coder)
            assert await asker.status(token) == 200
            coder.hang = True
            status, took = await _timed(asker, token)
            assert (status, took < BUSY * TRY_SECONDS) == (503, True)
            coder.hang = False
            coder.reset = True
            assert (await _timed(asker, token))[0] == 503
            coder.reset = False
            coder.rate_limit = {"alice": 0}
            assert (await _timed(asker, token))[0] == 503
            coder.rate_limit = None
            assert await asker.status(token) == 200
        status, took = await _timed(asker, token)
        assert (status, took < BUSY * TRY_SECONDS) == (503, True)
        with coder.running(port=port):
            began = time.monotonic()
            while await asker.status(token) != 200:
                assert time.monotonic() - began < 60
            print(f"\nrecovered {(time.monotonic() - began) * 1000:.0f} ms after Coder was back")


async def test_an_answer_of_coder_is_no_outage(coder: Coder, port: int, lenient: Replicas) -> None:
    """A deleted token is not accepted on a 429 that a flood causes, nor on any other answer."""
    async with askers(lenient) as (asker,):
        with coder.running(port=port):
            token = _token(coder)
            assert await asker.status(token) == 200
            coder.state.delete_key(token)
            coder.bad_limit = 0
            assert await asker.status(token) == 503
            for canned in (INTERNAL_ERROR, Canned(403, b"no"), Canned(404, b"no"), Canned(302)):
                kept = coder.state.create_key("alice")
                assert await asker.status(kept) == 200
                coder.canned[USERS_ME] = canned
                assert await asker.status(kept) == 503
                coder.canned.clear()
        # It is one now, but what Coder did not vouch for when it was up stays out.
        assert await asker.status(token) == 503
        assert await asker.status(kept) == 503


async def test_a_seen_token_may_pass_while_coder_is_down(
    coder: Coder, port: int, lenient: Replicas
) -> None:
    """A seen token passes with ``identity_stale_if_error``, marked and counted; others get 503."""
    async with askers(lenient) as (asker,):
        with coder.running(port=port):
            token = _token(coder)
            unseen = coder.state.create_key("alice")
            deleted = coder.state.create_key("alice")
            assert await asker.status(token) == 200
            assert await asker.status(deleted) == 200
            assert "identity_stale" not in await asker.metadata(token)
            coder.state.delete_key(deleted)
            assert await asker.status(deleted) == 401
        assert await asker.status(token) == 200
        assert (await asker.metadata(token))["identity_stale"] == "true"
        assert await asker.status(unseen) == 503
        assert await asker.status(deleted) == 401, "its refusal is still shared"
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{lenient.http_ports[0]}/metrics")
    metrics = answer.text
    assert "authz_identity_stale_allows_total 2.0" in metrics
    assert token not in metrics
