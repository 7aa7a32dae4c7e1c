"""Two replicas of authz behind one Envoy: no request fails when one of them does."""

import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.certificates import Authority
from tests.support.fleet import Fleet, fleet
from tests.support.load import Load
from tests.support.pair import Provider, wait_until

ROUNDS = 20 if os.environ.get("AUTHZ_SOAK") else 1

pytestmark = pytest.mark.timeout(120 * ROUNDS)


@pytest.fixture(scope="module", params=["http2"])
def running(request: pytest.FixtureRequest, provider: Provider) -> Iterator[Fleet]:
    """Two replicas that share a store."""
    with fleet(provider, authz={"transport": request.param}) as started:
        yield started


@pytest.fixture
def pair(running: Fleet) -> Iterator[Fleet]:
    """The fleet, with all replicas running again after the test."""
    yield running
    for number in range(2):
        if number not in running.replicas:
            running.start_replica(number, wait=False)
    running.wait_ready()
    running.provider.take()


def _judge(what: str, load: Load, slowest: float) -> None:
    """Assert that every request had its right answer, and none took longer than the limit."""
    retried = f"slowest {load.slowest * 1000:.0f} ms"
    print(f"\n{what}: {sum(load.failed.values())} of {load.total} requests failed, {retried}")
    assert load.failed == {}
    assert load.total > 100
    assert load.slowest < slowest


def test_killed(pair: Fleet) -> None:
    """A killed replica fails no request, and its successor is used again."""
    load = pair.load()
    with load.running():
        for turn in range(ROUNDS):
            pair.end_replica(turn % 2, signal.SIGKILL)
            load.more(150)
            pair.start_replica(turn % 2)
            load.more(150)
    _judge("kill -9", load, 30)


def test_stopped(pair: Fleet) -> None:
    """A stopped replica fails no request, and one that continues is used again."""
    load = pair.load()
    with load.running():
        for turn in range(ROUNDS):
            pair.replicas[turn % 2].send_signal(signal.SIGSTOP)
            load.more(150)
            wait_until(lambda: pair.healthy() == 1, 5, "the stopped one being found out")
            load.more(150)
            pair.replicas[turn % 2].send_signal(signal.SIGCONT)
            wait_until(lambda: pair.healthy() == 2, 10, "both being asked")
            load.more(50)
    _judge("SIGSTOP", load, 30)


def test_rolling_upgrade(pair: Fleet) -> None:
    """Replicas are replaced in turn, and one that leaves is not asked any more before it ends."""
    load = pair.load()
    with load.running():
        for turn in range(2 * ROUNDS):
            assert pair.end_replica(turn % 2) == 0
            pair.start_replica(turn % 2)
            load.more(100)
    _judge("rolling upgrade", load, 30)


def test_both_are_asked(pair: Fleet) -> None:
    """The checks of one connection are spread over the replicas."""
    names = [f"127.0.0.1_{port}" for port in pair.ports]
    load = pair.load(workers=1, pause=0)
    before = _asked(pair)
    with load.running():
        load.more(200)
    asked = [after - earlier for after, earlier in zip(_asked(pair), before, strict=True)]
    assert load.failed == {}, names
    assert sum(asked) >= load.total
    # Without other load the access log's open stream makes one the busier of the two: it is asked
    # when both draws are its own, one time in four.
    assert min(asked) > load.total // 8, asked


def _asked(pair: Fleet) -> list[int]:
    counts = []
    for port in pair.http_ports:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        counts.append(
            sum(
                int(float(line.rsplit(" ", 1)[1]))
                for line in text.splitlines()
                if line.startswith("authz_checks_total")
            )
        )
    return counts


def test_a_delete_counts_everywhere_at_once(pair: Fleet) -> None:
    """Every replica refuses a deleted token from the next request on."""
    for _ in range(5 * ROUNDS):
        token = pair.create_token("alice")
        assert {pair.status(token) for _ in range(4)} == {200}
        pair.delete_token(token)
        assert {pair.status(token) for _ in range(8)} == {401}


def test_certificates_replaced(pair: Fleet) -> None:
    """New certificates and a new CA on both sides fail no request.

    The new CA is trusted beside the old one first, as everywhere.
    """
    both = [*pair.servers, pair.client]
    successor = Authority(pair.folder, "successor-ca")
    load = pair.load()
    with load.running():
        for certificate in both:
            certificate.trust(pair.authority, successor)
        _wait_replaced(pair, 2)
        for certificate in both:
            certificate.renew(successor)
        _wait_replaced(pair, 4)
        for certificate in both:
            certificate.trust(successor)
        _wait_replaced(pair, 6)
        before = pair.stats("cluster.authz.ssl.")["handshake"]
        # Who is connected stays so: new connections show that the new files are used.
        for number in range(2):
            pair.end_replica(number)
            pair.start_replica(number)
        load.more(100)
    _judge("certificates and CA replaced", load, 30)
    pair.authority = successor
    assert pair.stats("cluster.authz.ssl.")["handshake"] > before
    with ssl.create_default_context(cafile=successor.ca_file).wrap_socket(
        socket.create_connection(("127.0.0.1", pair.ports[0]), 60), server_hostname="127.0.0.1"
    ) as tls:
        assert tls.version() == "TLSv1.3"


def _wait_replaced(pair: Fleet, count: int) -> None:
    text = "authz.tls replaced"
    wait_until(lambda: pair.stderr.count(text) >= count, 10, f"{text} {count} times")


def test_both_killed(pair: Fleet) -> None:
    """Every request is 503 in time without any replica, and is served again afterwards."""
    token = pair.create_token("alice")
    for number in range(2):
        pair.end_replica(number, signal.SIGKILL)
    pair.provider.take()
    for _ in range(3):
        began = time.monotonic()
        assert pair.status(token) == 503
        assert time.monotonic() - began < 30
    assert pair.provider.take() == []
    pair.start_replica(0, wait=False)
    wait_until(lambda: pair.status(token) == 200, 10, "recovery")
