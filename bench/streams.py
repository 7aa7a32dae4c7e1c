"""The generator of streams, a process of its own: a job as JSON on stdin, the outcome on stdout.

It opens all streams, spread over a second or so, reads the events as they come, and takes three
times: to the first event, between two events of a stream, and from the provider's sending of an
event (which stands in it) to its arrival here. Standard library alone, like ``load.py``.
"""

import json
import re
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

_STAMP = re.compile(rb"@(\d{16})@")
_END = b"message_stop"
_REFUSED = re.compile(rb"HTTP/1.1 [345]")
_KEEP = 400


class StreamError(Exception):
    """The job can't be done; the message says why."""


@dataclass(frozen=True)
class Job:
    """The streams to open.

    Attributes:
        request: a whole HTTP/1.1 request, sent as it is.
        streams: how many at the same time.
        events: how many each has to bring.
        ramp: seconds over which they are opened.
        seconds: the longest that all of it may take.
    """

    port: int
    request: str
    streams: int
    events: int
    ramp: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """The results of streams; times by percentile.

    Attributes:
        failures: streams that were refused, were cut, or lack an event.
        seconds: from the first request to the last event.
        first_ms: from a request to its first event.
        gap_ms: between two events of one stream.
        delay_ms: of an event, from the provider to here.
    """

    streams: int
    failures: int
    events: int
    seconds: float
    cpu_seconds: float
    first_ms: dict[str, float] = field(default_factory=dict)
    gap_ms: dict[str, float] = field(default_factory=dict)
    delay_ms: dict[str, float] = field(default_factory=dict)


@dataclass
class _Stream:
    socket: socket.socket
    sent: float = 0.0
    last: float = 0.0
    events: int = 0
    rest: bytes = b""


def run(job: Job) -> Outcome:
    """Do a job.

    Raises:
        StreamError: the streams are not done in time.
        OSError: nothing listens there.
    """
    request = job.request.encode("latin-1")
    waiting = [_connect(job.port) for _ in range(job.streams)]
    poller = select.epoll()
    under_way: dict[int, _Stream] = {}
    first: list[float] = []
    gaps: list[float] = []
    delays: list[float] = []
    clock = time.monotonic
    used, begin, failures = time.process_time(), clock(), 0
    while waiting or under_way:
        now = clock()
        if now > begin + job.seconds:
            raise StreamError(f"{len(under_way)} of {job.streams} streams not done in time")
        due = begin + job.ramp * (job.streams - len(waiting)) / job.streams
        if waiting and due <= now:
            stream = waiting.pop()
            stream.socket.sendall(request)
            stream.socket.setblocking(False)
            stream.sent = clock()
            under_way[stream.socket.fileno()] = stream
            poller.register(stream.socket, select.EPOLLIN)
            continue
        for number, _ in poller.poll(due - now if waiting else 1.0):
            stream = under_way[number]
            data = stream.socket.recv(65_536)
            now = clock()
            text, end = stream.rest + data, 0
            for stamp in _STAMP.finditer(text):
                end = stamp.end()
                delays.append(now - int(stamp[1]) / 1e9)
                if stream.events:
                    gaps.append(now - stream.last)
                else:
                    first.append(now - stream.sent)
                stream.events, stream.last = stream.events + 1, now
            stream.rest = text[end:][-_KEEP:]  # a stamp may be cut in two
            if not data or _END in stream.rest or _REFUSED.match(data):
                failures += stream.events != job.events
                poller.unregister(stream.socket)
                stream.socket.close()
                del under_way[number]
    used = time.process_time() - used
    return Outcome(
        streams=job.streams,
        failures=failures,
        events=len(delays),
        seconds=clock() - begin,
        cpu_seconds=used,
        first_ms=_in_ms(first),
        gap_ms=_in_ms(gaps),
        delay_ms=_in_ms(delays),
    )


def _connect(port: int) -> _Stream:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Stream(connection)


def _in_ms(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    last = len(ordered) - 1
    return {
        name: round(ordered[round(last * share)] * 1000, 4)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def main() -> None:
    """Read a job, do it, print the outcome."""
    job = Job(**json.load(sys.stdin))
    try:
        outcome = run(job)
    except (StreamError, OSError) as error:
        sys.exit(f"stream generator: {error}")
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
