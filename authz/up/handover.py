"""Change the providers of a running Envoy, so that every route always has its cluster."""

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
from authz.up.admin import AdminClient

_TAKE_SECONDS = 15.0
_WARM_SECONDS = 10.0
_POLL_SECONDS = 0.02
BLIND_SECONDS = 3.0
LINGER_SECONDS = 3.0
"""The time for which unreferenced clusters are kept. A request gets its route before its check,
and its cluster after it. A check may take two seconds: ``CHECK_SECONDS`` in
``authz/envoy/filters.py``, which is not imported here because that takes a second."""


class Watcher(Protocol):
    """Tells when Envoy has applied a file."""

    def put(self, write: Callable[[], bool], version: str, stat: str, what: str) -> None:
        """Write a file and wait until Envoy has applied it.

        Args:
            write: writes the file, and returns whether it has changed.
            version: the version in the file.
            stat: the prefix of its subscription in Envoy's statistics.
            what: the content of the file, for errors.

        Raises:
            StartError: Envoy rejects the file or takes too long.
        """
        ...

    def linger(self) -> None:
        """Wait until no request has an old route and no cluster yet."""
        ...

    def wait_until_warm(self) -> None:
        """Wait until new clusters have addresses, or until that takes too long."""
        ...


class AdminWatcher:
    """Asks Envoy's admin interface.

    Args:
        admin: the admin interface of the Envoy that watches the files.
        check: called while waiting; an exception from it ends the wait.
    """

    def __init__(self, admin: AdminClient, check: Callable[[], None]) -> None:
        self._admin = admin
        self._check = check

    def put(self, write: Callable[[], bool], version: str, stat: str, what: str) -> None:
        """Write a file and wait until Envoy has applied it.

        Raises:
            StartError: Envoy rejects the file, or has not applied it in 15 s.
            OSError: Envoy does not respond.
        """
        before = self._admin.subscription(stat)
        write()
        deadline = time.monotonic() + _TAKE_SECONDS
        while (now := self._admin.subscription(stat)).version != version:
            if now.rejections > before.rejections:
                raise StartError(f"Envoy refuses the {what}; see its log for the reason")
            if time.monotonic() > deadline:
                raise StartError(f"Envoy has not applied the {what} in {_TAKE_SECONDS:.0f} s")
            self._pause()

    def linger(self) -> None:
        """Wait for as long as a check may take."""
        deadline = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < deadline:
            self._pause()

    def wait_until_warm(self) -> None:
        """Wait for the first address of each new cluster, for as long as DNS may take.

        A cluster whose name does not resolve in time gets its routes too. Its requests get a 503,
        and other clusters do not wait for it.
        """
        deadline = time.monotonic() + _WARM_SECONDS
        while self._admin.warming_clusters() and time.monotonic() < deadline:
            self._pause()

    def _pause(self) -> None:
        self._check()
        time.sleep(_POLL_SECONDS)


class BlindWatcher:
    """Waits three seconds for each file, where Envoy's admin interface can't be reached."""

    def put(self, write: Callable[[], bool], version: str, stat: str, what: str) -> None:
        """Write a file and wait. An Envoy that watches it applies it in milliseconds."""
        if write():
            time.sleep(BLIND_SECONDS)

    def linger(self) -> None:
        """Return at once: ``put`` waits for longer than a check may take."""

    def wait_until_warm(self) -> None:
        """Return at once: ``put`` waits for longer than most names take to resolve."""


def change(old: Parts, new: Parts, folder: Path, watcher: Watcher) -> None:
    """Change Envoy from one configuration to another.

    Clusters are added before a route names them, and removed after the last such route: Envoy
    applies each file on its own. To undo a change that failed half-way, swap ``old`` and ``new``.

    Args:
        old: the current configuration of Envoy.
        new: the configuration to apply.
        folder: the folder of the files that Envoy watches.
        watcher: tells when Envoy has applied a file.

    Raises:
        StartError: Envoy rejects a file, or does not apply it in time.
        OSError: a file can't be written, or Envoy does not respond.
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
        # Envoy reads this file when it adds the listener.
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
