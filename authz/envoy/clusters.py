"""The providers' clusters, and parts that other clusters use too."""

from datetime import timedelta
from pathlib import Path

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCustomClusterType,
    ClusterDiscoveryType,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    EnvoyInternalAddress,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HttpProtocolOptions as CommonHttpProtocolOptions,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsAutoHttpConfig,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.google.protobuf import Any

from authz.addresses import BaseUrl
from authz.certificates.trust import system_roots
from authz.config.settings import Config, Provider
from authz.envoy.packing import exactly, file_source, packed, socket_address
from authz.envoy.provider_routes import provider_cluster, websocket_cluster
from authz.envoy.replicas import notified_clusters
from authz.envoy.retries import has_retries, retry_filters
from authz.envoy.signing import signing_filters
from authz.envoy.slow_providers import detect_outliers

IDLE_SECONDS = 4
"""Less than the five seconds after which Node and uvicorn close an unused connection."""

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(config: Config) -> list[Cluster]:
    """Return the clusters of the providers, in the order of the configuration."""
    return [cluster for provider in config.providers for cluster in _provider(config, provider)]


def has_upstream_proxy(config: Config) -> bool:
    """Return whether Envoy reaches providers through the company's proxy."""
    return config.proxy is not None and config.proxy.upstream_proxy is not None


def internal_address(listener_name: str) -> Address:
    """Return the address of an internal listener."""
    return Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name=listener_name))


def _provider(config: Config, provider: Provider) -> list[Cluster]:
    requests = _one(config, provider, provider_cluster(provider), _auto(), ["h2", "http/1.1"])
    if not provider.websockets:
        return [requests]
    # Over HTTP/2 a WebSocket needs RFC 8441, which providers lack; so these get HTTP/1.1.
    websockets = _one(config, provider, websocket_cluster(provider), http1(), ["http/1.1"])
    return [requests, websockets]


def _one(
    config: Config,
    provider: Provider,
    name: str,
    protocol: HttpProtocolOptions,
    alpn_protocols: list[str],
) -> Cluster:
    url = provider.base_url
    cluster = host_cluster(name, url, config.envoy.max_connections)
    options = protocol if url.tls else http1()
    if provider.aws is not None:
        options.http_filters = signing_filters(provider.aws)
    elif has_retries(config, provider) and name == provider_cluster(provider):
        options.http_filters = retry_filters(config, provider, notified_clusters(config))
        # Envoy's 3 at a time would let refusals through as soon as many requests are refused.
        cluster.circuit_breakers = limits(
            config.envoy.max_connections, config.envoy.max_connections
        )
    if provider.outlier_detection is not None and name == provider_cluster(provider):
        detect_outliers(cluster, options, provider.name, provider.outlier_detection)
    cluster.typed_extension_protocol_options = protocol_options(options)
    if url.tls:
        cluster.transport_socket = tls_to(url, provider.ca_file or system_roots(), alpn_protocols)
    if has_upstream_proxy(config):
        # The tunnel of this provider, through the company's proxy (`egress.py`).
        cluster.cluster_type = None
        cluster.type = ClusterDiscoveryType.STATIC
        tunnel = internal_address(provider_cluster(provider))
        cluster.load_assignment = assignment(name, tunnel)
    return cluster


def host_cluster(name: str, url: BaseUrl, limit: int) -> Cluster:
    """Return a cluster of one host, by address or by name, in clear."""
    cluster = Cluster(
        name=name,
        connect_timeout=timedelta(seconds=5),
        per_connection_buffer_limit_bytes=65_536,
        load_assignment=assignment(name, socket_address(url.host, url.port)),
        circuit_breakers=limits(limit),
        typed_extension_protocol_options=protocol_options(http1()),
    )
    if url.is_ip or url.host == "localhost":
        cluster.type = ClusterDiscoveryType.STATIC
    else:
        cluster.cluster_type = ClusterCustomClusterType(
            name="envoy.cluster.dns",
            typed_config=packed(
                DnsCluster(
                    respect_dns_ttl=True,
                    dns_lookup_family=DnsLookupFamily.ALL,
                    all_addresses_in_single_endpoint=True,
                )
            ),
        )
    return cluster


def tls_to(url: BaseUrl, roots: Path, alpn_protocols: list[str]) -> TransportSocket:
    """Verify a host's certificate, its name included."""
    # Without a validation context Envoy verifies nothing at all.
    san_type = SubjectAltNameMatcherSanType
    kind = san_type.IP_ADDRESS if url.is_ip else san_type.DNS
    context = UpstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_params=TlsParameters(
                tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
            ),
            validation_context=CertificateValidationContext(
                trusted_ca=file_source(roots),
                match_typed_subject_alt_names=[
                    SubjectAltNameMatcher(san_type=kind, matcher=exactly(url.host))
                ],
            ),
            alpn_protocols=alpn_protocols,
        ),
        sni="" if url.is_ip else url.host,
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def assignment(name: str, *addresses: Address) -> ClusterLoadAssignment:
    """Return one endpoint for each address."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=address)) for address in addresses]
    return ClusterLoadAssignment(
        cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]
    )


def limits(limit: int, retries: int | None = None) -> CircuitBreakers:
    """Return limits for a cluster.

    Args:
        limit: of connections, and of requests that wait or are under way.
        retries: at a time; None leaves Envoy's 3.
    """
    # Envoy's default of 1024 would refuse streams that the listener has let in.
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=limit,
                max_pending_requests=limit,
                max_requests=limit,
                max_retries=retries,
            )
        ]
    )


def protocol_options(protocol: HttpProtocolOptions) -> dict[str, Any]:
    """Name the options as a cluster has them."""
    return {HTTP_OPTIONS: packed(protocol)}


def http1() -> HttpProtocolOptions:
    """Return the protocol options for HTTP/1.1 only."""
    return HttpProtocolOptions(
        common_http_protocol_options=_closed_first(),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=Http1ProtocolOptions()
        ),
    )


def _auto() -> HttpProtocolOptions:
    """Return the protocol options for HTTP/2 if the provider offers it in ALPN, else HTTP/1.1."""
    return HttpProtocolOptions(
        common_http_protocol_options=_closed_first(),
        auto_config=HttpProtocolOptionsAutoHttpConfig(
            http_protocol_options=Http1ProtocolOptions(),
            http2_protocol_options=Http2ProtocolOptions(),
        ),
    )


def _closed_first() -> CommonHttpProtocolOptions:
    """Close an unused connection before the server does.

    A request that meets a closing connection gets no answer, and Envoy can't know whether the
    server has read it. So a POST is not sent again: it could be paid for twice.
    """
    return CommonHttpProtocolOptions(idle_timeout=timedelta(seconds=IDLE_SECONDS))
