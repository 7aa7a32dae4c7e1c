"""Envoy as a plain proxy: no log, no filter but the router, and the key set by the route.

It shows what proxying itself costs. ``Envoy alone`` has our configuration, its logs and filters.
"""

from typing import Any

from bench import upstream
from bench.message import PROVIDER, STREAMING
from bench.variants import Running
from bench.world import World
from tests.support.ports import free_port

_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def begin(world: World, name: str) -> Running:
    """Start it."""
    port = free_port()
    values = configuration(port, world.upstream_port, world.streaming_port)
    return Running(port, {"envoy": world.start_envoy(name, values)})


def configuration(port: int, upstream_port: int, streaming_port: int) -> dict[str, Any]:
    """Return its configuration.

    Args:
        port: of its listener.
        upstream_port: of the canned provider.
        streaming_port: of the provider of streams.
    """
    ports = {PROVIDER: upstream_port, STREAMING: streaming_port}
    manager = {
        "@type": _MANAGER,
        "stat_prefix": "naked",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [_route(one) for one in ports]}
            ]
        },
    }
    listener = {
        "name": "gateway",
        "address": _address(port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    clusters = [_cluster(one, where) for one, where in ports.items()]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _route(provider: str) -> dict[str, Any]:
    key = {"header": {"key": "x-api-key", "value": upstream.CENTRAL_KEY}}
    return {
        "match": {"prefix": f"/{provider}/"},
        "route": {"cluster": provider, "timeout": "0s"},
        "request_headers_to_remove": ["authorization"],
        "request_headers_to_add": [{**key, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
