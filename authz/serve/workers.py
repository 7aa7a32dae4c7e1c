"""Several authz processes on one machine, each with an address of its own, watched by one parent.

Envoy's few connections do not spread over a shared port (``envoy-facts.md`` 6), so each worker
is an endpoint for Envoy's balancer. A worker that dies is replaced; its address refuses connections
until then, so that Envoy asks the others at once.
"""

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

from authz.addresses import Address, UnixAddress
from authz.config.settings import Config
from authz.errors import StartError, what_failed
from authz.sds.leaves import make_leaves
from authz.sds.secret_files import write_secrets
from authz.serve.children import Child
from authz.transport.common import can_listen, remove_stale_socket
from authz.web.server import forget_http, listen_http

_log = structlog.get_logger(__name__)

STOP_SECONDS = 8.0
START_SECONDS = 20.0
_POLL_SECONDS = 0.05
_RESTART_SECONDS = (0.1, 5.0)
"""How long a worker's successor waits: first, and at most where one after the other dies."""
_STEADY_SECONDS = 10.0
"""A worker that has lived this long is replaced at once again."""
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Tells prometheus-client to keep its values in files that all workers' ``/metrics`` add up."""


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may use, the quota of a container counted."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        limit = int(quota) // int(period)
    except (OSError, ValueError):
        # No control groups of version 2, or "max".
        return cores or 1
    return max(1, min(cores or 1, limit))


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process has from its parent.

    Attributes:
        index: from 0.
        listeners: the sockets that all of them accept HTTP from, as ``listen_http`` returns them.
    """

    index: int
    listeners: Sequence[socket.socket]


class Workers:
    """The worker processes.

    Args:
        config: what they serve.
        count: how many.
        arguments: of ``authz serve`` in a worker, such as ``--config FILE``.
    """

    def __init__(self, config: Config, count: int, arguments: Sequence[str | Path]) -> None:
        self._config = config
        self._command: list[str | Path] = [sys.executable, "-m", "authz", "serve", *arguments]
        self._count = count
        self._children: list[Child | None] = [None] * count
        self._started = [0.0] * count
        self._waits = [_RESTART_SECONDS[0]] * count
        self._due = [0.0] * count
        self._is_stopping = False
        self._http: list[socket.socket] = []
        self._metrics_folder: str | None = None

    def run(self) -> None:
        """Start the workers and keep them running until SIGTERM or SIGINT.

        SIGHUP is passed on to each.

        Raises:
            StartError: one can't be started at all; none is left.
        """
        handlers = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._pass_on,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            # What the workers would say, each in a line of its own, is said once.
            make_leaves(self._config)
            write_secrets(self._config)
            for index in range(self._count):
                self._require_free(self._config.authz.worker_address(index))
            self._http = listen_http(self._config)
            self._metrics_folder = tempfile.mkdtemp(prefix="authz-metrics-")
            # `/readyz` answers with the first worker, and then the first address has to be there.
            for indices in (range(1), range(1, self._count)):
                for index in indices:
                    self._start(index)
                self._wait_until_up()
            while not self._is_stopping:
                self._replace_dead()
                time.sleep(_POLL_SECONDS)
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, index: int) -> None:
        descriptors = tuple(listener.fileno() for listener in self._http)
        options = ["--worker-index", str(index)]
        for descriptor in descriptors:
            options += ["--http-descriptor", str(descriptor)]
        environ = {**os.environ, _METRICS_VARIABLE: self._metrics_folder or ""}
        self._children[index] = Child(
            f"authz worker {index}", [*self._command, *options], environ, keep=descriptors
        )
        self._started[index] = time.monotonic()

    def _require_free(self, address: Address) -> None:
        """Raise ``StartError`` where a worker could not listen."""
        try:
            if isinstance(address, UnixAddress):
                remove_stale_socket(Path(address.path))
            else:
                can_listen(address)
        except OSError as error:
            raise StartError(f"authz.grpc: {address}: {what_failed(error)}") from None

    def _wait_until_up(self) -> None:
        """Return when every worker takes connections; one that ends before can't be started."""
        deadline = time.monotonic() + START_SECONDS
        for index, child in enumerate(self._children):
            if child is None:
                continue
            address = self._config.authz.worker_address(index)
            while not self._is_stopping:
                child.raise_if_ended()
                if _takes_connections(address):
                    break
                if time.monotonic() > deadline:
                    raise StartError(f"worker {index} is not up after {START_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)

    def _replace_dead(self) -> None:
        now = time.monotonic()
        for index, child in enumerate(self._children):
            if child is None:
                if now >= self._due[index]:
                    self._start(index)
            elif child.exit_status is not None:
                if now - self._started[index] > _STEADY_SECONDS:
                    self._waits[index] = _RESTART_SECONDS[0]
                _log.error(
                    "worker ended, another one starts",
                    worker=index,
                    status=child.exit_status,
                    seconds=self._waits[index],
                )
                # Its counters stay, its gauges don't.
                mark_process_dead(child.pid, self._metrics_folder)  # type: ignore[no-untyped-call]
                self._children[index] = None
                self._due[index] = now + self._waits[index]
                self._waits[index] = min(self._waits[index] * 2, _RESTART_SECONDS[1])

    def _stop(self, *_signal: object) -> None:
        self._is_stopping = True

    def _pass_on(self, *_signal: object) -> None:
        for child in self._children:
            if child is not None:
                child.send(signal.SIGHUP)

    def _end(self) -> None:
        children = [child for child in self._children if child is not None]
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in children:
            child.stop(max(0.1, deadline - time.monotonic()))
        if self._http:
            forget_http(self._config)
        for listener in self._http:
            listener.close()
        if self._metrics_folder is not None:
            shutil.rmtree(self._metrics_folder, ignore_errors=True)


def _takes_connections(address: Address) -> bool:
    try:
        if isinstance(address, UnixAddress):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(address.path)
        else:
            reachable = address.for_clients
            socket.create_connection((reachable.host, reachable.port), timeout=1).close()
    except OSError:
        return False
    return True
