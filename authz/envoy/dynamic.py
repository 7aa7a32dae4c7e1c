"""Splits the configuration into a constant part and parts that change while Envoy runs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from authz.config.settings import Config
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
    of_provider = {
        provider.name: {provider_cluster(provider), websocket_cluster(provider)}
        for provider in config.providers
    }
    named_by_content = set().union(*of_provider.values())
    whole, names = _name_by_content(document(config), named_by_content)
    static = whole["static_resources"]
    watched = {*names.values(), *(intercept_name(host) for host in config.intercepted_hosts)}

    internal = [one for one in static["listeners"] if "internal_listener" in one]
    routes = {
        one["name"]: {"@type": f"{_TYPE}.route.v3.RouteConfiguration", **one}
        for one in _found(static["listeners"], "route_config")
    }
    clusters = [one for one in static["clusters"] if one["name"] in watched]
    bootstrap = whole | {
        "static_resources": static
        | {
            "listeners": _watching(
                [one for one in static["listeners"] if one not in internal], folder
            ),
            "clusters": [one for one in static["clusters"] if one not in clusters],
        },
        "dynamic_resources": {
            "cds_config": _watched(clusters_file(folder)),
            "lds_config": _watched(listeners_file(folder)),
        },
    }
    return Parts(
        bootstrap=bootstrap,
        whole=whole,
        clusters=_by_name(clusters, "cluster.v3.Cluster"),
        listeners=_by_name(_watching(internal, folder), "listener.v3.Listener"),
        routes=routes,
        of_provider={
            provider: sorted(names[name] for name in old & names.keys())
            for provider, old in of_provider.items()
        },
    )


def _name_by_content(whole: Document, names: set[str]) -> tuple[Document, dict[str, str]]:
    """Return the document with new names for some clusters, and the new name of each.

    A provider behind the company's proxy has an internal listener of its cluster's name, which is
    named by its content as well.

    Args:
        whole: the document; it is not changed.
        names: the clusters to rename.
    """
    static = whole["static_resources"]
    listener_names = {
        one["name"]: _content_name(one)
        for one in static["listeners"]
        if "internal_listener" in one and one["name"] in names
    }
    clusters = [
        {**one, "alt_stat_name": one["name"]} if one["name"] in names else one
        for one in _replaced(static["clusters"], "server_listener_name", listener_names)
    ]
    cluster_names = {one["name"]: _content_name(one) for one in clusters if one["name"] in names}
    renamed = static | {
        "listeners": [
            {**one, "name": listener_names.get(one["name"], one["name"])}
            for one in _replaced(static["listeners"], "cluster", cluster_names)
        ],
        "clusters": [_named(one, cluster_names.get(one["name"])) for one in clusters],
    }
    return whole | {"static_resources": renamed}, cluster_names


def _named(cluster: Document, name: str | None) -> Document:
    if name is None:
        return cluster
    renamed: Document = _replaced(cluster, "cluster_name", {cluster["name"]: name})
    return renamed | {"name": name}


def _content_name(resource: Document) -> str:
    return f"{resource['name']}_{_digest(resource)}"


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


def _replaced(value: Any, key: str, names: Mapping[str, str]) -> Any:
    """Return a copy in which each ``key`` with an old name has the new one."""
    if isinstance(value, dict):
        return {
            name: names.get(inner, inner)
            if name == key and isinstance(inner, str)
            else _replaced(inner, key, names)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_replaced(inner, key, names) for inner in value]
    return value


def _watching(value: Any, folder: Path) -> Any:
    """Return a copy in which each connection manager takes its routes from a watched file."""
    if isinstance(value, list):
        return [_watching(inner, folder) for inner in value]
    if not isinstance(value, dict):
        return value
    copied = {
        key: _watching(inner, folder) for key, inner in value.items() if key != "route_config"
    }
    if "route_config" in value:
        name = value["route_config"]["name"]
        copied["rds"] = {
            "route_config_name": name,
            "config_source": _watched(routes_file(folder, name)),
        }
    return copied


def _watched(path: Path) -> Document:
    watched = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"resource_api_version": "V3", "path_config_source": watched}


def _by_name(resources: list[Document], kind: str) -> dict[str, Document]:
    return {one["name"]: {"@type": f"{_TYPE}.{kind}", **one} for one in resources}
