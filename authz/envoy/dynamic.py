"""Takes the configuration apart into what is constant and what is replaced while Envoy runs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from authz.envoy.intercept import intercept_name
from authz.envoy.parts import (
    Document,
    Parts,
    clusters_file,
    listeners_file,
    routes_file,
)
from authz.envoy.provider_routes import provider_cluster, websocket_cluster
from authz.envoy.render import document
from authz.settings import Config

_TYPE = "type.googleapis.com/envoy.config"


def split(config: Config, folder: Path) -> Parts:
    """Render a configuration in parts.

    Args:
        config: what to render.
        folder: where Envoy is going to find the files; it is named in the bootstrap and not
            touched.

    Raises:
        OSError: a provider's ``ca_file`` can't be read.
    """
    whole = document(config)
    static = whole["static_resources"]
    of_provider = {
        provider.name: {provider_cluster(provider), websocket_cluster(provider)}
        for provider in config.providers
    }
    named_by_content = set().union(*of_provider.values())
    dynamic = named_by_content | {intercept_name(host) for host in config.intercepted_hosts}

    internal = [one for one in static["listeners"] if "internal_listener" in one]
    # A provider behind the company's proxy has a listener of its cluster's name.
    names = _rename(internal, named_by_content)
    clusters = [one for one in static["clusters"] if one["name"] in dynamic]
    _replace(clusters, "server_listener_name", names)
    for cluster in clusters:
        if cluster["name"] in named_by_content:
            cluster["alt_stat_name"] = cluster["name"]
    names = _rename(clusters, named_by_content)
    _replace(static["listeners"], "cluster", names)
    # From here on only copies are changed, since `whole` stays as it is.
    whole = json.loads(json.dumps(whole))

    routes: dict[str, Document] = {}
    for manager in _managers(static["listeners"]):
        one = manager.pop("route_config")
        routes[one["name"]] = {"@type": f"{_TYPE}.route.v3.RouteConfiguration", **one}
        manager["rds"] = {
            "route_config_name": one["name"],
            "config_source": _watched(routes_file(folder, one["name"])),
        }
    static["listeners"] = [one for one in static["listeners"] if "internal_listener" not in one]
    static["clusters"] = [one for one in static["clusters"] if one not in clusters]
    bootstrap = json.loads(json.dumps(whole)) | {"static_resources": static}
    bootstrap["dynamic_resources"] = {
        "cds_config": _watched(clusters_file(folder)),
        "lds_config": _watched(listeners_file(folder)),
    }
    return Parts(
        bootstrap=bootstrap,
        whole=whole,
        clusters=_by_name(clusters, "cluster.v3.Cluster"),
        listeners=_by_name(internal, "listener.v3.Listener"),
        routes=routes,
        of_provider={
            provider: sorted(names[name] for name in old & names.keys())
            for provider, old in of_provider.items()
        },
    )


def _rename(resources: list[Document], names: set[str]) -> dict[str, str]:
    """Give those of ``names`` a name that says what is in them, and return the new names."""
    renamed = {}
    for resource in resources:
        if resource["name"] in names:
            renamed[resource["name"]] = f"{resource['name']}_{_digest(resource)}"
            resource["name"] = renamed[resource["name"]]
            if "load_assignment" in resource:
                resource["load_assignment"]["cluster_name"] = resource["name"]
    return renamed


def _digest(resource: Document) -> str:
    digest = hashlib.sha256(json.dumps(resource, sort_keys=True).encode())
    # Envoy reads a CA file when it makes a cluster, and not again. So new content is a new cluster.
    for context in _found(resource, "trusted_ca"):
        digest.update(Path(context["filename"]).read_bytes())
    return digest.hexdigest()[:12]


def _found(value: object, key: str) -> Iterator[Document]:
    if isinstance(value, dict):
        if isinstance(value.get(key), dict):
            yield value[key]
        for inner in value.values():
            yield from _found(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _found(inner, key)


def _replace(value: object, key: str, names: Mapping[str, str]) -> None:
    """Put the new name wherever ``key`` has an old one."""
    if isinstance(value, dict):
        if value.get(key) in names and isinstance(value[key], str):
            value[key] = names[value[key]]
        for inner in value.values():
            _replace(inner, key, names)
    elif isinstance(value, list):
        for inner in value:
            _replace(inner, key, names)


def _managers(listeners: list[Document]) -> Iterator[Document]:
    """Find the HTTP connection managers that have routes in them."""
    for listener in listeners:
        for chain in listener["filter_chains"]:
            for network_filter in chain["filters"]:
                if "route_config" in network_filter["typed_config"]:
                    yield network_filter["typed_config"]


def _watched(path: Path) -> Document:
    watched = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"resource_api_version": "V3", "path_config_source": watched}


def _by_name(resources: list[Document], kind: str) -> dict[str, Document]:
    return {one["name"]: {"@type": f"{_TYPE}.{kind}", **one} for one in resources}
