"""Thousands of open streams through a pair, from a provider whose streams do not end."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import h2.events

from tests.support.pair import Pair

PER_CONNECTION = 100
"""Envoy's ``max_concurrent_streams``."""
BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}'


@contextlib.contextmanager
def endless_provider() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A provider's process, whose streams end when its input does, and its port."""
    command = [sys.executable, "-m", "tests.support.endless"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def say(process: subprocess.Popen[str], text: str) -> None:
    """Tell the provider to send an event on each open stream."""
    assert process.stdin is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def resident(running: Pair) -> dict[str, float]:
    """Return the memory of each process in MiB."""
    found = {}
    for name, pid in running.children().items():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmRSS:"))
        found[name] = int(line.split()[1]) / 1024
    return found


class Streams(asyncio.Protocol):
    """A connection with as many streams as Envoy lets it have, read as they come.

    Args:
        head: of the request that each stream begins with; ``{}`` in it is the stream's number.
    """

    text = b""
    """The end of the expected event, on every connection."""

    def __init__(self, head: list[tuple[str, str]]) -> None:
        self._head = head
        self._h2 = h2.connection.H2Connection()
        self.seen = 0
        self.ended = 0
        self.failed: list[object] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(1 << 24)
        for number in range(PER_CONNECTION):
            stream = self._h2.get_next_available_stream_id()
            head = [(name, value.replace("{}", str(number))) for name, value in self._head]
            self._h2.send_headers(stream, head)
            self._h2.send_data(stream, BODY, end_stream=True)
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                if (b":status", b"200") not in event.headers:
                    self.failed.append(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.seen += event.data.count(self.text)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended += 1
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                self.failed.append(event)
        self._transport.write(self._h2.data_to_send())


async def until_all_saw(connections: list[Streams], text: bytes) -> None:
    """Wait until an event has arrived on each stream."""
    end = time.monotonic() + 60
    while any(one.seen < PER_CONNECTION for one in connections):
        failed = [one.failed for one in connections if one.failed]
        assert not failed, failed[:3]
        assert time.monotonic() < end, f"{text!r}: {[one.seen for one in connections]}"
        await asyncio.sleep(0.05)
