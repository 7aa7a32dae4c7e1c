"""Runs several authz processes on one machine, each with its own address, under one parent.

Envoy opens few connections, and the kernel does not spread them evenly over a shared port, so each
worker is an endpoint for Envoy's load balancer. The parent replaces a worker that dies. Until then
its address refuses connections, so that Envoy asks the others at once.
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
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead

from authz.addresses import Address, UnixAddress
from authz.config.settings import Config
from authz.errors import StartError, what_failed
from authz.keys.exec_key import shared_outputs
from authz.sds.leaves import make_leaves
from authz.sds.secret_files import write_secrets
from authz.serve.children import Child
from authz.serve.systemd import Notifier
from authz.transport.common import remove_stale_socket, require_free
from authz.web.server import forget_http, listen_http

_log = structlog.get_logger(__name__)

STOP_SECONDS = 8.0
START_SECONDS = 20.0
_POLL_SECONDS = 0.05
_RESTART_SECONDS = (0.1, 5.0)
"""Delay before a dead worker is replaced: the first, and the longest if workers keep dying."""
_STEADY_SECONDS = 10.0
"""After this time of a worker's life, its delay is the first one again."""
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Makes prometheus-client keep its values in files; each worker's ``/metrics`` adds them up."""


@dataclass(frozen=True, slots=True)
class Worker:
    """The part of a worker process that comes from its parent.

    Attributes:
        index: counts from 0.
        listeners: the sockets of ``listen_http``, on which all workers accept HTTP.
    """

    index: int
    listeners: Sequence[socket.socket]


class Workers:
    """The worker processes.

    Args:
        config: the configuration of all workers.
        count: the number of workers.
        arguments: of ``authz serve`` in a worker, such as ``--config FILE``.
        notifier: is told the state of all workers together.
    """

    def __init__(
        self,
        config: Config,
        count: int,
        arguments: Sequence[str | Path],
        notifier: Notifier | None = None,
    ) -> None:
        self._notifier = notifier or Notifier()
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

        The parent forwards SIGHUP to each worker.

        Raises:
            StartError: a worker can't be started; the others are stopped.
        """
        handlers = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._forward_reload,
        }
        previous = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
        try:
            # The parent logs these problems once; otherwise each worker would.
            make_leaves(self._config)
            write_secrets(self._config)
            for index in range(self._count):
                self._require_free(self._config.authz.worker_address(index))
            self._http = listen_http(self._config)
            self._metrics_folder = tempfile.mkdtemp(prefix="authz-metrics-")
            # `/readyz` answers as soon as one worker runs, and Envoy then needs the first address.
            for indices in (range(1), range(1, self._count)):
                for index in indices:
                    self._start(index)
                self._wait_until_up()
            is_told = not self._notifier.is_on
            while not self._is_stopping:
                self._replace_dead()
                self._notifier.alive()
                if not is_told and (is_told := self._is_ready()):
                    self._notifier.ready()
                time.sleep(_POLL_SECONDS)
        finally:
            self._notifier.stopping()
            self._end()
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def _start(self, index: int) -> None:
        descriptors = tuple(listener.fileno() for listener in self._http)
        options = ["--worker-index", str(index)]
        for descriptor in descriptors:
            options += ["--http-descriptor", str(descriptor)]
        # A command that prints a key runs once for all workers.
        keys = shared_outputs().descriptor
        if keys is not None:
            options += ["--keys-descriptor", str(keys)]
            descriptors += (keys,)
        environ = {**os.environ, _METRICS_VARIABLE: self._metrics_folder or ""}
        self._children[index] = Child(
            f"authz worker {index}",
            [*self._command, *options],
            environ,
            keep=descriptors,
            # A reload must not end a worker that is still starting.
            blocked=[signal.SIGHUP],
        )
        self._started[index] = time.monotonic()

    def _require_free(self, address: Address) -> None:
        """Raise ``StartError`` if a worker could not listen on the address."""
        try:
            if isinstance(address, UnixAddress):
                remove_stale_socket(Path(address.path))
            else:
                require_free(address)
        except OSError as error:
            raise StartError(f"authz.grpc: {address}: {what_failed(error)}") from None

    def _wait_until_up(self) -> None:
        """Return when every worker accepts connections; raise ``StartError`` if one has ended."""
        deadline = time.monotonic() + START_SECONDS
        for index, child in enumerate(self._children):
            if child is None:
                continue
            address = self._config.authz.worker_address(index)
            while not self._is_stopping:
                child.raise_if_ended()
                if _accepts_connections(address):
                    break
                if time.monotonic() > deadline:
                    raise StartError(f"worker {index} is not up after {START_SECONDS:.0f} s")
                time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        """Return whether a worker answers ``/readyz`` with 200."""
        address = self._config.authz.http.for_clients
        connection = HTTPConnection(address.host, address.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == HTTPStatus.OK:
                return True
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        self._notifier.waiting("the identity source")
        return False

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
                # This removes the worker's gauges and keeps its counters.
                mark_process_dead(child.pid, self._metrics_folder)  # type: ignore[no-untyped-call]
                self._children[index] = None
                self._due[index] = now + self._waits[index]
                self._waits[index] = min(self._waits[index] * 2, _RESTART_SECONDS[1])

    def _stop(self, *_signal: object) -> None:
        self._is_stopping = True

    def _forward_reload(self, *_signal: object) -> None:
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


def _accepts_connections(address: Address) -> bool:
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
