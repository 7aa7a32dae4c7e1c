"""The rendered configuration as plain data, to look things up in."""

import re
from typing import Any

from authz.config.settings import Config
from authz.envoy import render


def rendered(**values: Any) -> dict[str, Any]:
    """Render a configuration with these keys of gateway.yaml."""
    return render.document(Config.model_validate(values))


def listener(document: dict[str, Any]) -> dict[str, Any]:
    """Return the gateway's listener."""
    listeners = document["static_resources"]["listeners"]
    found: dict[str, Any] = next(one for one in listeners if one["name"] == "gateway")
    return found


def manager(document: dict[str, Any]) -> dict[str, Any]:
    """Return the gateway's HTTP connection manager."""
    (chain,) = listener(document)["filter_chains"]
    (network_filter,) = chain["filters"]
    config: dict[str, Any] = network_filter["typed_config"]
    return config


def http_filter(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one HTTP filter's configuration."""
    filters = manager(document)["http_filters"]
    config: dict[str, Any] = next(
        one["typed_config"] for one in filters if one["name"] == f"envoy.filters.http.{name}"
    )
    return config


def virtual_host(document: dict[str, Any]) -> dict[str, Any]:
    """Return the gateway's virtual host."""
    (host,) = manager(document)["route_config"]["virtual_hosts"]
    found: dict[str, Any] = host
    return found


def routes(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all routes of the gateway, each once: those of each provider, then the rest."""
    host = virtual_host(document)
    if "matcher" not in host:
        found: list[dict[str, Any]] = host["routes"]
        return found
    branches = {
        _branch(entry)["action"]["name"]: _list(_branch(entry))
        for entry in _prefixes(host).values()
    }
    lists = [*branches.values(), _list(host["matcher"]["on_no_match"])]
    return [route for each in lists for route in each]


def cluster(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one cluster."""
    clusters = document["static_resources"]["clusters"]
    found: dict[str, Any] = next(one for one in clusters if one["name"] == name)
    return found


def chosen(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """Return the route that Envoy takes for a plain request.

    The longest prefix whose branch the path belongs to selects the list, and in that the first
    route that matches in full serves.
    """
    host = virtual_host(document)
    if "matcher" not in host:
        return first(host["routes"], method, path)
    prefixes = _prefixes(host)
    for prefix in sorted(filter(path.startswith, prefixes), key=len, reverse=True):
        (field,) = prefixes[prefix]["matcher"]["matcher_list"]["matchers"]
        pattern = field["predicate"]["single_predicate"]["value_match"]["safe_regex"]["regex"]
        if re.fullmatch(pattern.replace(r"\C", "(?s:.)"), path):
            return first(_list(field["on_match"]), method, path)
    return first(_list(host["matcher"]["on_no_match"]), method, path)


def first(found: list[dict[str, Any]], method: str, path: str) -> dict[str, Any]:
    """Return the same among these routes."""
    return next(route for route in found if _matches(route["match"], method, path))


def upstream_path(route: dict[str, Any], path: str) -> str:
    """Rewrite a path as the route does."""
    rewrite = route["route"]["regex_rewrite"]
    return re.sub(rewrite["pattern"]["regex"], rewrite["substitution"], path)


def facts(route: dict[str, Any]) -> dict[str, str]:
    """Return what the route tells authz; nothing for a route that says nothing."""
    per_filter = route.get("typed_per_filter_config", {}).get("envoy.filters.http.ext_authz", {})
    found: dict[str, str] = per_filter.get("check_settings", {}).get("context_extensions", {})
    return found


def _prefixes(host: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = host["matcher"]["matcher_tree"]["prefix_match_map"]["map"]
    return found


def _branch(entry: dict[str, Any]) -> dict[str, Any]:
    (field,) = entry["matcher"]["matcher_list"]["matchers"]
    found: dict[str, Any] = field["on_match"]
    return found


def _list(matched: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = matched["action"]["typed_config"]["routes"]
    return found


def _matches(match: dict[str, Any], method: str, path: str) -> bool:
    for header in match.get("headers", []):
        value = {":method": method, ":path": path}.get(header["name"])
        if value is None:
            return False  # a plain request has no Upgrade header
        wanted = header["string_match"]
        pattern = wanted.get("safe_regex", {}).get("regex") or re.escape(wanted["exact"])
        if not re.fullmatch(pattern, value):
            return False
    if "path" in match:
        return bool(match["path"] == path)
    if "prefix" in match:
        return path.startswith(match["prefix"])
    return re.fullmatch(match["safe_regex"]["regex"], path) is not None
