"""The gateway listener and its HTTP connection manager, with the limits of an edge proxy.

The hardening follows "Configuring Envoy as an edge proxy" in Envoy's documentation.
"""

from datetime import timedelta
from pathlib import Path

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    PathConfigSource,
    SchemeHeaderTransformation,
    TransportSocket,
    WatchedDirectory,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsParameters,
    TlsParametersTlsProtocol,
)

from authz.config.settings import Config
from authz.envoy.access_logs import access_logs
from authz.envoy.anonymous import anonymous_filters
from authz.envoy.cors import cors_filter
from authz.envoy.early_refusals import MAX_FIELDS, MAX_KIB
from authz.envoy.filters import http_filters
from authz.envoy.http1 import DEFAULT_HOST, http1_options
from authz.envoy.local_replies import local_replies
from authz.envoy.packing import envoy_address, packed
from authz.envoy.routes import gateway_routes
from authz.envoy.tracing import forget_client_traces, tracing
from authz.sds.secret_files import listener_secret_file

BUFFER_LIMIT_BYTES = 65_536


def gateway_listener(config: Config) -> Listener:
    """Return the listener of clients with a base URL."""
    filters = [*anonymous_filters(), *http_filters(config)]
    if config.cors is not None:
        filters.insert(0, cors_filter())
    manager = connection_manager(config, gateway_routes(config), filters)
    manager.http_protocol_options = http1_options(default_host=DEFAULT_HOST)
    chain = filter_chain(manager)
    if config.tls is not None:
        path = listener_secret_file(config, "gateway")
        chain.transport_socket = tls_from_secret("gateway", path, watch_folder=False)
    return Listener(
        name="gateway",
        address=envoy_address(config.listen),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=BUFFER_LIMIT_BYTES,
    )


def filter_chain(manager: HttpConnectionManager) -> FilterChain:
    """Return a chain with this connection manager as its only network filter."""
    return FilterChain(
        filters=[
            Filter(
                name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
            )
        ]
    )


def connection_manager(
    config: Config, routes: RouteConfiguration, filters: list[HttpFilter]
) -> HttpConnectionManager:
    """Return the connection manager for these routes; its statistics bear the routes' name."""
    escaped_slashes = HttpConnectionManagerPathWithEscapedSlashesAction
    manager = HttpConnectionManager(
        stat_prefix=routes.name,
        route_config=routes,
        http_filters=filters,
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timedelta(hours=1),
            max_headers_count=MAX_FIELDS,
            # Some servers take an underscore for a hyphen, so no look-alike of a credential header
            # goes further. Clients that send `session_id` work without it.
            headers_with_underscores_action=(
                HttpProtocolOptionsHeadersWithUnderscoresAction.DROP_HEADER
            ),
        ),
        http_protocol_options=http1_options(),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=65_536,
            initial_connection_window_size=1_048_576,
        ),
        # The provider's own Server header is the true one.
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        max_request_headers_kb=MAX_KIB,
        stream_idle_timeout=timedelta(seconds=config.envoy.stream_idle_timeout),
        request_headers_timeout=timedelta(seconds=10),
        access_log=access_logs(config),
        # The client is the peer: its X-Forwarded-For and x-envoy-* headers are not believed.
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        # Routes decide: names of models hold escaped slashes, and nothing else may.
        path_with_escaped_slashes_action=escaped_slashes.KEEP_UNCHANGED,
        local_reply_config=local_replies(config.envoy.stream_idle_timeout),
        # A client of HTTP/2 may claim any scheme; the provider's connection says which it is.
        scheme_header_transformation=SchemeHeaderTransformation(match_upstream=True),
        # Off here, Envoy would answer 403 before a route could answer anything else. The routes to
        # providers refuse WebSockets first (`provider_routes`); those to authz switch them off.
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
    )
    if config.tracing is not None:
        manager.tracing = tracing(config.tracing)
        manager.early_header_mutation_extensions = [forget_client_traces(config.tracing)]
    return manager


def tls_from_secret(name: str, path: Path, *, watch_folder: bool) -> TransportSocket:
    """Terminate TLS with a certificate that Envoy takes from a secret file, and takes again.

    Args:
        name: of the secret in the file.
        path: the file.
        watch_folder: whether the file itself is replaced; else what it names is.
    """
    watched = WatchedDirectory(path=str(path.parent)) if watch_folder else None
    context = DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_params=TlsParameters(
                tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
            ),
            tls_certificate_sds_secret_configs=[
                SdsSecretConfig(
                    name=name,
                    sds_config=ConfigSource(
                        path_config_source=PathConfigSource(
                            path=str(path), watched_directory=watched
                        ),
                        resource_api_version=ApiVersion.V3,
                    ),
                )
            ],
            alpn_protocols=["h2", "http/1.1"],
        )
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
