"""deploy/envoy/drain.sh and deploy/compose/front.yaml, with a real Envoy."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from authz.envoy import binary
from tests.deploy.conftest import Deployed
from tests.support.deployment import DEPLOY
from tests.support.held import Held, HeldStream
from tests.support.pair import CENTRAL_KEYS, Provider, free_port, pair, wait_until


@contextlib.contextmanager
def _draining(port: int, **variables: int) -> Iterator[subprocess.Popen[bytes]]:
    environ = {"PATH": os.environ["PATH"], "ENVOY_ADMIN_PORT": str(port), "DRAIN_MIN_SECONDS": "0"}
    environ |= {name: str(value) for name, value in variables.items()}
    with subprocess.Popen(["bash", DEPLOY / "envoy" / "drain.sh"], env=environ) as script:
        try:
            yield script
        finally:
            script.kill()


@contextlib.contextmanager
def _stream(url: str, token: str, seconds: int) -> Iterator[Iterator[str]]:
    """Open an SSE stream of one tick a second and read the first."""
    body = {"model": f"slow-{seconds}", "max_tokens": 64, "stream": True}
    body["messages"] = [{"role": "user", "content": "Hello"}]
    with httpx.stream(
        "POST", f"{url}/anthropic/v1/messages", headers={"x-api-key": token}, json=body, timeout=60
    ) as answer:
        pieces = answer.iter_text()
        next(pieces)
        yield pieces


@contextlib.contextmanager
def _front(envoy_port: int, metrics_port: int, folder: Path) -> Iterator[str]:
    """Run the balancer in front of one Envoy and yield its URL."""
    port = free_port()
    text = (DEPLOY / "compose" / "front.yaml").read_text()
    for old, new in {
        "address: 0.0.0.0, port_value: 8080": f"address: 127.0.0.1, port_value: {port}",
        "address: envoy, port_value: 8080": f"address: localhost, port_value: {envoy_port}",
        "port_value: 9902": f"port_value: {metrics_port}",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "front.yaml"
    path.write_text(text)
    options = ["--use-dynamic-base-id", "--log-level", "error", "--concurrency", "1"]
    with subprocess.Popen([binary.find(), "-c", path, *options]) as envoy:
        try:
            wait_until(lambda: _listens(port), 15, "the balancer listening")
            yield f"http://127.0.0.1:{port}"
        finally:
            envoy.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _passes(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_the_balancer_finds_an_envoy_that_starts_later(provider: Provider, tmp_path: Path) -> None:
    """An Envoy that starts after the balancer gets connections soon after it is ready."""
    metrics = free_port()
    settings = {"metrics": f"127.0.0.1:{metrics}", "drain_timeout": 0}
    with (
        pair(provider, start=False, envoy=settings) as running,
        _front(running.port, metrics, tmp_path) as front,
    ):
        assert not _passes(front)
        running.start()
        wait_until(lambda: _passes(front), 10, "the balancer having found it")


def test_streams_finish_and_the_balancer_sends_no_more(tmp_path: Path) -> None:
    """New connections go elsewhere while an open stream goes on, and the script ends after it."""
    admin, metrics = free_port(), free_port()
    settings = {"admin": f"127.0.0.1:{admin}", "metrics": f"127.0.0.1:{metrics}"}
    held = Held("held", CENTRAL_KEYS["anthropic"])
    with (
        held.running(),
        pair(start=False, envoy={**settings, "drain_timeout": 0}) as running,
        _front(running.port, metrics, tmp_path) as front,
        httpx.Client() as client,
    ):
        running.settings["providers"][0]["base_url"] = held.url
        running.create_user("alice")
        running.start()
        wait_until(lambda: _passes(front), 10, "the balancer having found Envoy")
        url, token = f"{front}/anthropic/v1/messages", running.create_token("alice")
        stream = HeldStream(client, url, token)
        try:
            wait_until(lambda: stream.events, 10, "the stream")
            with _draining(admin) as script:
                deployed = Deployed(running, admin, metrics)
                wait_until(lambda: deployed.ready() == 503, 5, "Envoy saying that it drains")
                # Who comes anyway, having learned it late, is served.
                answer = httpx.get(f"{running.url}/readyz")
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
                wait_until(lambda: not _passes(front), 5, "the balancer sending no more requests")
                assert script.poll() is None
                held.release()
                stream.join()
                stream.assert_whole()
                assert script.wait(60) == 0
        finally:
            held.release()


def test_the_drain_is_bounded(deployed: Deployed) -> None:
    """A stream that outlasts DRAIN_SECONDS does not hold up the stop."""
    with _stream(deployed.pair.url, deployed.pair.create_token("alice"), 300):
        started = time.monotonic()
        with _draining(deployed.admin_port, DRAIN_SECONDS=2) as script:
            assert script.wait(60) == 0
        assert time.monotonic() - started >= 1


def test_time_to_be_noticed(deployed: Deployed) -> None:
    """The script waits DRAIN_MIN_SECONDS for the endpoint's removal, even without open requests."""
    started = time.monotonic()
    with _draining(deployed.admin_port, DRAIN_MIN_SECONDS=2) as script:
        assert script.wait(60) == 0
    assert time.monotonic() - started >= 1


def test_without_an_envoy_there_is_nothing_to_wait_for() -> None:
    """An Envoy that is already dead does not hold up the end of its container."""
    with _draining(free_port(), DRAIN_MIN_SECONDS=600) as script:
        assert script.wait(60) == 0
