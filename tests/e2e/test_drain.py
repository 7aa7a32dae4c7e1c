"""A running pair that stops: open streams finish, and new connections are refused."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.held import Held, HeldStream
from tests.support.pair import CENTRAL_KEYS, Pair, Provider, pair, wait_until
from tests.support.processes import running_in


class Stream:
    """An open SSE stream of many ticks, read by a thread of its own.

    Args:
        running: the pair, which has the user alice.
        seconds: how many ticks the stand-in streams, one a second.
    """

    def __init__(self, running: Pair, seconds: int) -> None:
        self.text = ""
        self.error = ""
        self._url = f"{running.url}/anthropic/v1/messages"
        self._token = running.create_token("alice")
        self._model = f"slow-{seconds}"
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        wait_until(lambda: self.text or self.error, 5, "the first event")
        assert not self.error

    def join(self, seconds: float = 60) -> str:
        """Return the whole stream once it has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        return self.text

    def _read(self) -> None:
        body = {
            "model": self._model,
            "max_tokens": 64,
            "stream": True,
            "messages": [{"role": "user", "content": "Hello"}],
        }
        try:
            with httpx.stream(
                "POST", self._url, headers={"x-api-key": self._token}, json=body, timeout=20
            ) as answer:
                for piece in answer.iter_text():
                    self.text += piece
        except httpx.HTTPError as error:
            self.error = type(error).__name__


@contextlib.contextmanager
def _running(provider: Provider, drain_timeout: int = 300) -> Iterator[Pair]:
    with pair(provider, start=False, envoy={"drain_timeout": drain_timeout}) as running:
        running.create_user("alice")
        running.start()
        yield running


@contextlib.contextmanager
def _streaming(provider: Provider) -> Iterator[tuple[Pair, Held, HeldStream]]:
    """A pair with an open stream, and its provider, which ends the stream when it is told to.

    So the stream is open for as long as a busy machine needs for what a test does meanwhile.
    """
    held = Held("held", CENTRAL_KEYS["anthropic"])
    with pair(provider, start=False, envoy={"drain_timeout": 300}) as running, held.running():
        (anthropic,) = [one for one in running.settings["providers"] if one["name"] == "anthropic"]
        anthropic["base_url"] = held.url
        running.create_user("alice")
        running.start()
        with httpx.Client() as client:
            token = running.create_token("alice")
            stream = HeldStream(client, f"{running.url}/anthropic/v1/messages", token)
            wait_until(lambda: stream.events or stream.error, 5, "the first event")
            yield running, held, stream


def _is_refused(running: Pair) -> bool:
    try:
        socket.create_connection(("127.0.0.1", running.port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_stream_finishes(provider: Provider, number: int) -> None:
    """After the first signal an open stream ends complete, and new connections are refused."""
    with _streaming(provider) as (running, held, stream):
        assert running.process is not None
        running.process.send_signal(number)
        wait_until(lambda: _is_refused(running), 2, "new connections being refused")
        wait_until(lambda: "draining" in running.stderr, 3, "the drain")
        assert running.process.poll() is None
        events = len(stream.events)
        wait_until(lambda: len(stream.events) > events, 3, "an event during the drain")
        held.release()
        stream.join()
        stream.assert_whole()
        assert running.process.wait(60) == 0
        assert running_in(running.folder) == {}
        assert "draining: 1 requests are open" in running.stderr


def test_stop_without_open_streams(provider: Provider) -> None:
    """A pair with nothing to wait for ends at once."""
    with _running(provider) as running:
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 60
        assert running_in(running.folder) == {}


def test_idle_connection_does_not_hold_up_the_end(provider: Provider) -> None:
    """An idle keep-alive connection does not delay the end."""
    with _running(provider) as running, httpx.Client() as client:
        client.get(f"{running.url}/healthz")
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 60


def test_second_signal_stops_at_once(provider: Provider) -> None:
    """A second signal cuts open streams and ends everything."""
    with _running(provider) as running:
        assert running.process is not None
        stream = Stream(running, 300)
        running.process.send_signal(signal.SIGINT)
        wait_until(lambda: "draining" in running.stderr, 3, "the drain")
        started = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(120) == 0
        assert time.monotonic() - started < 60
        assert "Tick 300" not in stream.join()
        assert running_in(running.folder) == {}


def test_drain_is_bounded(provider: Provider) -> None:
    """A stream that outlasts ``drain_timeout`` is cut, and a line reports it."""
    with _running(provider, drain_timeout=1) as running:
        stream = Stream(running, 300)
        started = time.monotonic()
        assert running.stop() == 0
        assert 0.9 < time.monotonic() - started < 60
        assert "Tick 300" not in stream.join()
        assert "after the drain timeout" in running.stderr
        assert running_in(running.folder) == {}


def test_authz_is_asked_while_draining(provider: Provider) -> None:
    """A connection from before the drain is served once more, with a check, and then closed."""
    with (
        _streaming(provider) as (running, held, stream),
        httpx.Client(base_url=running.url) as client,
    ):
        assert running.process is not None
        assert client.get("/anthropic/v1/models").status_code == 401
        token = running.create_token("alice")
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in running.stderr, 3, "the drain")
        answer = client.get("/anthropic/v1/models", headers={"x-api-key": token})
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        held.release()
        stream.join()
        stream.assert_whole()
        assert running.process.wait(60) == 0
