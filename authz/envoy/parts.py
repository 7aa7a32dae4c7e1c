"""Envoy's configuration in the parts that are replaced while it runs, and their files.

The bootstrap with the listeners is constant. Clusters, routes and the internal listeners of
intercepted hosts are files that Envoy watches, each in a folder of its own: when a file is renamed
in a folder, Envoy reads everything again that it watches there.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from authz.files import write_whole

Document = dict[str, Any]
Resources = Mapping[str, Document]
"""By name."""


@dataclass(frozen=True, slots=True)
class Parts:
    """One configuration.

    Attributes:
        bootstrap: what Envoy is started with; it names the files.
        whole: the same configuration in one piece, for Envoy's validate mode, which reads no file
            that is watched.
        clusters: of providers and intercepted hosts. The name of a provider's says what is in it,
            so that a changed provider has another cluster: requests on their way keep theirs, and
            no route leads for a moment to another upstream than authz decided on.
        listeners: internal ones.
        routes: of each listener.
        of_provider: which clusters are a provider's, by its name.
    """

    bootstrap: Document
    whole: Document
    clusters: Resources
    listeners: Resources
    routes: Resources
    of_provider: Mapping[str, list[str]]

    def to_json(self) -> str:
        """Write all of it as one text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))


def bootstrap_file(folder: Path) -> Path:
    """Return the file that Envoy is started with."""
    return folder / "bootstrap.json"


def clusters_file(folder: Path) -> Path:
    """Return the file of the clusters."""
    return folder / "clusters" / "clusters.json"


def listeners_file(folder: Path) -> Path:
    """Return the file of the internal listeners."""
    return folder / "listeners" / "listeners.json"


def routes_file(folder: Path, name: str) -> Path:
    """Return the file of one listener's routes."""
    return folder / "routes" / name.replace(":", "_") / "routes.json"


def response(resources: Resources) -> Document:
    """Return a ``DiscoveryResponse``; its version says what is in it."""
    text = json.dumps(list(resources.values()), sort_keys=True)
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {"version_info": version, "resources": list(resources.values())}


def write_document(path: Path, document: Document) -> bool:
    """Write a file in one rename, which is what Envoy watches for, unless it is like that already.

    Returns:
        Whether it was written.

    Raises:
        OSError: it can't be.
    """
    text = json.dumps(document, indent=1) + "\n"
    with contextlib.suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == text:
            return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, text)
    return True


def write_parts(parts: Parts, folder: Path) -> None:
    """Write every file, for an Envoy that is not started yet.

    Raises:
        OSError: the folder can't be written to.
    """
    write_document(clusters_file(folder), response(parts.clusters))
    write_document(listeners_file(folder), response(parts.listeners))
    for name, routes in parts.routes.items():
        write_document(routes_file(folder, name), response({name: routes}))
    write_document(bootstrap_file(folder), parts.bootstrap)


def read_parts(folder: Path) -> Parts | None:
    """Read what ``write_parts`` or a change wrote; None where the folder holds nothing of it.

    Returns:
        The parts that are watched, and the bootstrap; what only a rendering knows is empty.

    Raises:
        OSError: a file can't be read.
        ValueError: a file holds something else.
    """
    try:
        bootstrap = json.loads(bootstrap_file(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    routes: dict[str, Document] = {}
    for path in sorted((folder / "routes").glob("*/routes.json")):
        routes |= _resources(path)
    return Parts(
        bootstrap=bootstrap,
        whole={},
        clusters=_resources(clusters_file(folder)),
        listeners=_resources(listeners_file(folder)),
        routes=routes,
        of_provider={},
    )


def _resources(path: Path) -> dict[str, Document]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return {one["name"]: one for one in document["resources"]}
