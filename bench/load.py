"""The load generator, a process of its own: a job as JSON on stdin, the outcome as JSON on stdout.

It has to cost less than what it measures, so it is one plain loop over non-blocking sockets, with
the standard library alone. An event loop would add its callbacks to every request, and both
asyncio and uvloop round their timers to a millisecond, which is more than what authz adds.
"""

import ctypes
import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

_PR_SET_TIMERSLACK = 29
_ANSWER_SECONDS = 15.0
"""The longest wait for one answer; Envoy's own limit on a check is a second."""


class LoadError(Exception):
    """The job can't be done; the message says why."""


@dataclass(frozen=True)
class Job:
    """The requests to send.

    Attributes:
        request: a whole HTTP/1.1 request, sent as it is.
        rate: requests per second on a fixed schedule; 0 keeps every connection busy instead.
    """

    port: int
    request: str
    connections: int
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """The results of a load.

    Attributes:
        requests: answered requests.
        failures: how many of them were not answered with 200.
        seconds: from the first request to the last answer.
        cpu_seconds: of this process.
        latencies_ms: by percentile, from the time that the schedule says; only with a rate.
        late_ms: how much later than scheduled requests were sent, by percentile.
    """

    requests: int
    failures: int
    seconds: float
    cpu_seconds: float
    latencies_ms: dict[str, float] = field(default_factory=dict)
    late_ms: dict[str, float] = field(default_factory=dict)


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.due = 0.0
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.failed = False
        self._request = request
        self._received = b""

    def fileno(self) -> int:
        """Let ``select`` take the connection itself."""
        return self.socket.fileno()

    def send(self) -> None:
        """Send the request."""
        if self.socket.send(self._request) != len(self._request):
            raise LoadError("a request does not fit into the socket's buffer")

    def receive(self) -> bool:
        """Read what is there and say whether the answer is complete; ``failed`` says how it was."""
        data = self.socket.recv(65536)
        if not data:
            raise LoadError("the server closed a connection")
        if self._received:
            data = self._received + data
        if not _complete(data):
            self._received = data
            return False
        self._received = b""
        self.failed = not data.startswith(b"HTTP/1.1 200 ")
        return True


def _complete(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = data[:end].lower()
    start = head.find(b"\ncontent-length: ")
    if start >= 0:
        return len(data) >= end + 4 + int(head[start + 17 :].partition(b"\r")[0])
    if b"\ntransfer-encoding: chunked" in head:
        return data.endswith(b"\r\n0\r\n\r\n")
    raise LoadError(f"an answer without content-length: {head[:80]!r}")


def run_busy(connections: list[Connection], seconds: float) -> Outcome:
    """Keep every connection busy: how much does the server get done?"""
    poller = select.epoll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    requests = failures = 0
    clock = time.perf_counter
    used = time.process_time()
    begin = now = clock()
    end = begin + seconds
    for connection in connections:
        connection.send()
    waiting = len(connections)
    while waiting:
        events = poller.poll(_ANSWER_SECONDS)
        if not events:
            raise LoadError(f"no answer in {_ANSWER_SECONDS:.0f} s")
        now = clock()
        for number, _ in events:
            connection = by_number[number]
            if not connection.receive():
                continue
            requests += 1
            failures += connection.failed
            if now < end:
                connection.send()
            else:
                waiting -= 1
    poller.close()
    return Outcome(requests, failures, now - begin, time.process_time() - used)


def run_schedule(connections: list[Connection], seconds: float, rate: float) -> Outcome:
    """Send on a fixed schedule, whether or not earlier requests are answered.

    A request that has to wait for a free connection, or for us, is late; its latency counts from
    when it was due. So a server that stalls shows it in every request it held up ("coordinated
    omission" would show it in one).
    """
    count = max(1, int(seconds * rate))
    idle = deque(connections)
    busy: set[Connection] = set()
    latencies: list[float] = []
    late: list[float] = []
    failures = sent = 0
    clock = time.perf_counter
    used = time.process_time()
    begin = clock() + 0.01
    while len(latencies) < count:
        due = begin + sent / rate
        now = clock()
        if sent < count and due <= now and idle:
            connection = idle.popleft()
            connection.due = due
            connection.send()
            busy.add(connection)
            late.append(now - due)
            sent += 1
            continue
        ours = sent < count and idle
        ready, _, _ = select.select(busy, (), (), due - now if ours else _ANSWER_SECONDS)
        if not ready and not ours:
            raise LoadError(f"no answer in {_ANSWER_SECONDS:.0f} s")
        for connection in ready:
            if connection.receive():
                latencies.append(clock() - connection.due)
                failures += connection.failed
                busy.remove(connection)
                idle.append(connection)
    used = time.process_time() - used
    return Outcome(count, failures, clock() - begin, used, _in_ms(latencies), _in_ms(late))


def _in_ms(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        name: round(ordered[round(last * share)] * 1000, 4)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    }


def run(job: Job) -> Outcome:
    """Do a job.

    Raises:
        LoadError: a connection was lost, or an answer is not what any variant gives.
        OSError: nothing listens there.
    """
    request = job.request.encode("latin-1")
    connections = [Connection(job.port, request) for _ in range(job.connections)]
    try:
        if job.rate:
            return run_schedule(connections, job.seconds, job.rate)
        return run_busy(connections, job.seconds)
    finally:
        for connection in connections:
            connection.socket.close()


def main() -> None:
    """Read a job, do it, print the outcome."""
    if sys.platform == "linux":
        # The kernel may wake a sleeper 50 µs late to save power; a schedule needs better.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)
    job = Job(**json.load(sys.stdin))
    try:
        outcome = run(job)
    except (LoadError, OSError) as error:
        sys.exit(f"load generator: {error}")
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
