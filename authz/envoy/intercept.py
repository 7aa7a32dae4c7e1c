"""Opening the TLS of a provider's host: one internal listener for each host.

A CONNECT to a provider's host goes to that host's own listener, which has its certificate and its
routes and no others. So nothing inside the tunnel, neither SNI nor Host, can choose another
provider than the CONNECT did.
"""

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import (
    TransportSocket,
)
from envoy_data_plane.envoy.config.listener.v3 import Listener, ListenerInternalListenerConfig
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    Mutations,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.transport_sockets.internal_upstream.v3 import (
    InternalUpstreamTransport,
)
from envoy_data_plane.envoy.extensions.transport_sockets.raw_buffer.v3 import RawBuffer

from authz.certificates.leaves import leaf_file
from authz.config.settings import Config
from authz.core.header_names import GOVERNANCE
from authz.envoy.clusters import assignment, internal_address, limits
from authz.envoy.filters import (
    EXT_AUTHZ,
    PROXY_TOKEN_KEY,
    http_filters,
)
from authz.envoy.host_routes import host_routes
from authz.envoy.listener import (
    BUFFER_LIMIT_BYTES,
    connection_manager,
    filter_chain,
    tls_from_secret,
)
from authz.envoy.mark import marked
from authz.envoy.packing import packed, set_header
from authz.envoy.provider_routes import RETRIES
from authz.envoy.retries import retry_buffer


def intercept_name(host: str) -> str:
    """Return the name of the internal listener of a host, and of the cluster that leads to it."""
    return f"intercept_{host}"


def intercept_listeners(config: Config) -> list[Listener]:
    """Return an internal listener for each intercepted host."""
    return [_listener(config, host) for host in config.intercepted_hosts]


def intercept_clusters(config: Config) -> list[Cluster]:
    """Return a cluster for each internal listener."""
    return [
        _cluster(intercept_name(host), config.envoy.max_connections)
        for host in config.intercepted_hosts
    ]


def _listener(config: Config, host: str) -> Listener:
    filters = [_token_from_tunnel(), *http_filters(config)]
    manager = connection_manager(config, _routes(config, host), filters)
    manager.strip_trailing_host_dot = True
    chain = filter_chain(manager)
    chain.transport_socket = _tls(config, host)
    return Listener(
        name=intercept_name(host),
        internal_listener=ListenerInternalListenerConfig(),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=BUFFER_LIMIT_BYTES,
    )


def _token_from_tunnel() -> HttpFilter:
    # Overwrites what a client sent. Without a token in the tunnel the header is removed.
    mutations = [
        Mutation(remove=GOVERNANCE),
        Mutation(append=set_header(GOVERNANCE, f"%FILTER_STATE({PROXY_TOKEN_KEY}:PLAIN)%")),
    ]
    return HttpFilter(
        name="authz.token_from_tunnel",
        typed_config=packed(HeaderMutation(mutations=Mutations(request_mutations=mutations))),
    )


def _routes(config: Config, host: str) -> RouteConfiguration:
    here = [provider for provider in config.providers if provider.native_url.host == host]
    bracketed = f"[{host}]" if ":" in host else host
    return RouteConfiguration(
        name=intercept_name(host),
        virtual_hosts=[
            VirtualHost(
                name=host,
                domains=[bracketed, f"{bracketed}:443", f"{bracketed}:80"],
                routes=host_routes(sorted(here, key=lambda provider: provider.name), config),
                retry_policy=RETRIES,
                request_body_buffer_limit=retry_buffer(config),
            ),
            VirtualHost(name="misdirected", domains=["*"], routes=[_misdirected()]),
        ],
        typed_per_filter_config=marked(config),
        validate_clusters=True,
    )


def _misdirected() -> Route:
    # RFC 9110 15.5.20: this connection was opened for another host.
    return Route(
        name="misdirected",
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=421),
        typed_per_filter_config={EXT_AUTHZ: packed(ExtAuthzPerRoute(disabled=True))},
    )


def _tls(config: Config, host: str) -> TransportSocket:
    return tls_from_secret(host, leaf_file(config.leaf_folder, host), watch_folder=True)


def _cluster(name: str, limit: int) -> Cluster:
    raw = TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=packed(RawBuffer())
    )
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        load_assignment=assignment(name, internal_address(name)),
        circuit_breakers=limits(limit),
        # A second guard: no tunnel may get the token of another one.
        connection_pool_per_downstream_connection=True,
        transport_socket=TransportSocket(
            name="envoy.transport_sockets.internal_upstream",
            typed_config=packed(InternalUpstreamTransport(transport_socket=raw)),
        ),
    )
