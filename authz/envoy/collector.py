"""The clusters of collectors: of Envoy's spans, and of Claude Code's telemetry."""

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Http2ProtocolOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)

from authz.certificates.trust import system_roots
from authz.config.claude_code import Telemetry
from authz.config.observability import Tracing
from authz.envoy.clusters import host_cluster, protocol_options, tls_to
from authz.envoy.tracing import COLLECTOR_CLUSTER

TELEMETRY_CLUSTER = "telemetry"
_REQUESTS_MAX = 1024


def collector_cluster(settings: Tracing) -> Cluster:
    """Return the cluster of the collector."""
    url = settings.otlp
    cluster = host_cluster(COLLECTOR_CLUSTER, url, _REQUESTS_MAX)
    cluster.typed_extension_protocol_options = protocol_options(
        HttpProtocolOptions(
            explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
                http2_protocol_options=Http2ProtocolOptions()
            )
        )
    )
    if url.tls:
        cluster.transport_socket = tls_to(url, settings.ca_file or system_roots(), ["h2"])
    return cluster


def telemetry_cluster(settings: Telemetry) -> Cluster:
    """Return the cluster of the collector of Claude Code's telemetry."""
    url = settings.otlp
    cluster = host_cluster(TELEMETRY_CLUSTER, url, _REQUESTS_MAX)
    if url.tls:
        roots = settings.ca_file or system_roots()
        cluster.transport_socket = tls_to(url, roots, ["http/1.1"])
    return cluster
