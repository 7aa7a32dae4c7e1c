"""The listener for Prometheus and probes: two paths of the admin interface, to be read only.

The interface itself stops Envoy and shows its configuration, so it is for this machine alone.
"""

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpFilter,
)

from authz.addresses import TcpAddress
from authz.config.settings import Config
from authz.envoy.clusters import assignment
from authz.envoy.http1 import DEFAULT_HOST, http1_options
from authz.envoy.listener import filter_chain
from authz.envoy.packing import envoy_address, packed
from authz.envoy.provider_routes import method_is

METRICS_PATH = "/stats/prometheus"
READY_PATH = "/ready"
"""200 while Envoy takes requests; 503 while it starts and once it drains."""

_CLUSTER = "admin"


def metrics_listener(address: TcpAddress) -> Listener:
    """Return the listener; it answers all other paths with 404."""
    routes = [
        Route(
            name=path,
            match=RouteMatch(path=path, headers=[method_is("GET")]),
            route=RouteAction(cluster=_CLUSTER, timeout=timedelta(seconds=10)),
        )
        for path in (METRICS_PATH, READY_PATH)
    ]
    manager = HttpConnectionManager(
        stat_prefix="metrics",
        codec_type=HttpConnectionManagerCodecType.HTTP1,
        http_protocol_options=http1_options(upgrade=None, default_host=DEFAULT_HOST),
        route_config=RouteConfiguration(
            name="metrics",
            virtual_hosts=[VirtualHost(name="metrics", domains=["*"], routes=routes)],
            validate_clusters=True,
        ),
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router()))],
        request_timeout=timedelta(seconds=10),
    )
    return Listener(
        name="metrics",
        address=envoy_address(address),
        filter_chains=[filter_chain(manager)],
        # Watching has to go on while the overload manager refuses clients.
        ignore_global_conn_limit=True,
    )


def admin_cluster(config: Config) -> Cluster:
    """Return the admin interface as a cluster."""
    return Cluster(
        name=_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=0.5),
        load_assignment=assignment(_CLUSTER, envoy_address(config.admin_address)),
    )
