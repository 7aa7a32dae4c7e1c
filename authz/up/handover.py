"""Gives a running Envoy other providers, without a moment in which a route leads nowhere."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from authz.envoy.parts import (
    Parts,
    Resources,
    clusters_file,
    listeners_file,
    response,
    routes_file,
    write_document,
)
from authz.errors import StartError
from authz.up.admin import Admin

_TAKE_SECONDS = 15.0
_WARM_SECONDS = 10.0
_POLL_SECONDS = 0.02
BLIND_SECONDS = 3.0
LINGER_SECONDS = 3.0
"""How long what no route names any more stays. A request gets its route before it is checked and
its cluster afterwards, and a check may take two seconds (``CHECK_SECONDS`` of ``filters.py``, which
takes a second to import)."""


class Watcher(Protocol):
    """Knows when Envoy has taken a file."""

    def put(self, write: Callable[[], bool], version: str, stat: str, what: str) -> None:
        """Write a file and return when Envoy has taken it.

        Args:
            write: returns whether there was anything to write.
            version: of what is written.
            stat: the name of its subscription in Envoy's statistics.
            what: for messages.

        Raises:
            StartError: Envoy refuses it or takes too long.
        """
        ...

    def linger(self) -> None:
        """Return when no request is left that has one of the old routes and no cluster yet."""
        ...

    def wait_until_warm(self) -> None:
        """Return when new clusters have addresses, or when that takes too long."""
        ...


class AskingWatcher:
    """Asks Envoy's admin interface.

    Args:
        admin: of the Envoy that watches the files.
        check: called while waiting; what it raises ends the wait.
    """

    def __init__(self, admin: Admin, check: Callable[[], None]) -> None:
        self._admin = admin
        self._check = check

    def put(self, write: Callable[[], bool], version: str, stat: str, what: str) -> None:
        """Write a file and return when Envoy has taken it.

        Raises:
            StartError: Envoy refuses it, or has not taken it in 15 s.
            OSError: Envoy does not answer.
        """
        before = self._admin.update_of(stat)
        write()
        deadline = time.monotonic() + _TAKE_SECONDS
        while (now := self._admin.update_of(stat)).version != version:
            if now.refused > before.refused:
                raise StartError(f"Envoy refuses the {what}; its log says why")
            if time.monotonic() > deadline:
                raise StartError(f"Envoy has not taken the {what} in {_TAKE_SECONDS:.0f} s")
            self._pause()

    def linger(self) -> None:
        """Wait for as long as a check may take."""
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < deadline:
            self._pause()

    def wait_until_warm(self) -> None:
        """Wait for the first address of each new cluster, as long as DNS may reasonably take.

        One whose name does not resolve then gets its routes all the same: its requests are
        answered with 503, and all others are not held up.
        """
        deadline = time.monotonic() + _WARM_SECONDS
        while self._admin.warming_clusters() and time.monotonic() < deadline:
            self._pause()

    def _pause(self) -> None:
        self._check()
        time.sleep(_POLL_SECONDS)


class BlindWatcher:
    """Leaves an Envoy that can't be asked three seconds for each file."""

    def put(self, write: Callable[[], bool], version: str, stat: str, what: str) -> None:
        """Write a file and wait; an Envoy that watches it takes it in milliseconds."""
        if write():
            time.sleep(BLIND_SECONDS)

    def linger(self) -> None:
        """Return: ``put`` has waited for as long as a check may take."""

    def wait_until_warm(self) -> None:
        """Return: ``put`` has waited for as long as most names take to resolve."""


def change(old: Parts, new: Parts, folder: Path, watcher: Watcher) -> None:
    """Lead Envoy from one configuration to another.

    What is added is there before a route names it, and what is removed stays until none does
    (``envoy-facts.md`` 2). Called with both the other way round, it takes back a change that ended
    half-way.

    Args:
        old: what Envoy has.
        new: what it shall have.
        folder: of the files that it watches.
        watcher: says when it has taken one.

    Raises:
        StartError: Envoy refuses a part of it, or does not take it in time.
        OSError: a file can't be written, or Envoy does not answer.
    """

    def put(path: Path, resources: Resources, stat: str, what: str) -> None:
        document = response(resources)
        version = document["version_info"]
        watcher.put(lambda: write_document(path, document), version, stat, what)

    def put_clusters(clusters: Resources) -> None:
        put(clusters_file(folder), clusters, "cluster_manager.cds", "clusters")

    def put_listeners(listeners: Resources) -> None:
        put(listeners_file(folder), listeners, "listener_manager.lds", "internal listeners")

    put_clusters({**old.clusters, **new.clusters})
    watcher.wait_until_warm()
    for name in new.routes.keys() - old.routes.keys():
        # Read when its listener is added.
        write_document(routes_file(folder, name), response({name: new.routes[name]}))
    put_listeners({**old.listeners, **new.listeners})
    for name, routes in new.routes.items():
        path = routes_file(folder, name)
        put(path, {name: routes}, f"http.{name}.rds.{name}", f"routes of {name}")
    if old.clusters.keys() - new.clusters.keys():
        watcher.linger()
    put_listeners(new.listeners)
    put_clusters(new.clusters)
    for name in old.routes.keys() - new.routes.keys():
        shutil.rmtree(routes_file(folder, name).parent, ignore_errors=True)
