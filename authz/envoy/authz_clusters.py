"""The clusters of authz itself: addresses of its replicas, protocol and health checks.

Why it is so, with what was measured: ``docs/decisions/0008-replicas.md``.
"""

import ipaddress
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCustomClusterType,
    ClusterDiscoveryType,
    LoadBalancingPolicy,
    LoadBalancingPolicyPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import Address as EnvoyAddress
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckHttpHealthCheck,
    Http2ProtocolOptions,
    KeepaliveSettings,
    PathConfigSource,
    RoutingPriority,
    TransportSocket,
)
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster, DnsClusterRefreshRate
from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 import (
    LeastRequest,
)
from envoy_data_plane.envoy.extensions.network.dns_resolver.cares.v3 import (
    CaresDnsResolverConfig,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)

from authz.addresses import Address, TcpAddress, UnixAddress
from authz.config.settings import Config
from authz.envoy.api_routes import AUTHZ_HTTP_CLUSTER
from authz.envoy.clusters import HTTP_OPTIONS, assignment, http1, limits
from authz.envoy.filters import AUTHZ_CLUSTER
from authz.envoy.open_streams import WATCH_CLUSTER
from authz.envoy.packing import envoy_address, exactly, extension, packed, seconds
from authz.envoy.replicas import authz_addresses, notified_clusters
from authz.sds.secret_files import AUTHZ_CA, AUTHZ_CLIENT, secret_file

CONNECT_SECONDS = 0.5
"""For TCP and TLS together; a stopped process takes the connection and then says nothing."""
PING_SECONDS = 0.2
PING_ANSWER_SECONDS = 0.5
"""Together the longest that a check waits for a replica that stands still, before it is retried:
the connection is cut when a PING has no answer. A check's own timeout can't be as short, since
the identity source may take 0.8 s."""
HEALTH_INTERVAL_SECONDS = 1.0
HEALTH_ANSWER_SECONDS = 0.5
DNS_SECONDS = 5.0
DNS_ANSWER_SECONDS, DNS_TRIES, DNS_AGAIN_SECONDS = 1, 2, 1.0
"""Docker forwards the name of a service without containers to a name server that its internal
networks can't reach, and never answers. By default Envoy waits four times 5 s for that, and finds
a replica that has started meanwhile only then."""
HTTP_AT_ONCE, HEALTH_AT_ONCE = 16, 4
"""Requests to authz's HTTP side, and for ``/healthz`` and ``/readyz``, at a time."""


def authz_clusters(config: Config) -> list[Cluster]:
    """Return the cluster that checks go to, that of authz's HTTP side, and one for each replica."""
    return [
        _grpc(config, AUTHZ_CLUSTER, authz_addresses(config)),
        _http(config),
        *_watching(config),
        *(
            _notified(config, name, address)
            for name, address in notified_clusters(config).items()
            if address is not None
        ),
    ]


def _grpc(config: Config, name: str, addresses: tuple[Address, ...]) -> Cluster:
    """Return a cluster for checks; it has health checks if it may have several endpoints."""
    http2 = Http2ProtocolOptions()
    cluster = _cluster(name, addresses, config)
    if len(addresses) > 1 or not isinstance(addresses[0], UnixAddress):
        http2.connection_keepalive = KeepaliveSettings(
            interval=seconds(PING_SECONDS), timeout=seconds(PING_ANSWER_SECONDS)
        )
        cluster.health_checks = [_health(grpc_health_check=HealthCheckGrpcHealthCheck())]
    if config.authz.tls is not None:
        hosts = [address.for_clients for address in addresses if isinstance(address, TcpAddress)]
        cluster.transport_socket = _mutual_tls(config, hosts)
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2)
    )
    cluster.typed_extension_protocol_options = {HTTP_OPTIONS: packed(options)}
    return cluster


def _notified(config: Config, name: str, address: Address) -> Cluster:
    """Return the cluster of one replica, which Envoy connects to with the first refused key."""
    cluster = _grpc(config, name, (address,))
    if not (isinstance(address, TcpAddress) and address.is_name):
        # There is no other endpoint to take, so a check would be a connection for nothing.
        cluster.health_checks = []
    return cluster


def _watching(config: Config) -> list[Cluster]:
    if not config.revocation.end_streams:
        return []
    cluster = _grpc(config, WATCH_CLUSTER, authz_addresses(config))
    cluster.circuit_breakers = limits(config.envoy.max_connections)
    return [cluster]


def _http(config: Config) -> Cluster:
    own = config.authz.http_for_envoy
    addresses = config.envoy.authz_http or (own or config.authz.http,)
    cluster = _cluster(AUTHZ_HTTP_CLUSTER, addresses, config)
    if config.envoy.authz_http:
        path = HealthCheckHttpHealthCheck(path="/healthz")
        cluster.health_checks = [_health(http_health_check=path)]
    if config.authz.tls is not None and isinstance(own, TcpAddress):
        hosts = [address.for_clients for address in addresses if isinstance(address, TcpAddress)]
        cluster.transport_socket = _mutual_tls(config, hosts, "http/1.1")
    cluster.typed_extension_protocol_options = {HTTP_OPTIONS: packed(http1())}
    # Most of it needs no token. The process that answers here answers checks too, and has few of
    # these to do at a time; the others wait in Envoy. Health has places of its own.
    cluster.circuit_breakers = CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                priority=priority,
                max_connections=count,
                max_requests=config.envoy.max_checks,
                max_pending_requests=config.envoy.max_checks,
            )
            for priority, count in (
                (RoutingPriority.DEFAULT, HTTP_AT_ONCE),
                (RoutingPriority.HIGH, HEALTH_AT_ONCE),
            )
        ]
    )
    return cluster


def _cluster(name: str, addresses: tuple[Address, ...], config: Config) -> Cluster:
    limit = config.envoy.max_checks
    cluster = Cluster(
        name=name,
        connect_timeout=timedelta(seconds=CONNECT_SECONDS),
        load_balancing_policy=_least_request(),
        load_assignment=assignment(name, *(_endpoint(address) for address in addresses)),
        # When a replica dies, all that it was asked is asked again at once.
        circuit_breakers=limits(limit, retries=limit),
    )
    if any(isinstance(address, TcpAddress) and address.is_name for address in addresses):
        # Every address of the name is a replica. Not the record's TTL: Docker's is ten minutes.
        dns = DnsCluster(
            dns_refresh_rate=seconds(DNS_SECONDS),
            dns_failure_refresh_rate=DnsClusterRefreshRate(
                base_interval=seconds(DNS_AGAIN_SECONDS), max_interval=seconds(DNS_AGAIN_SECONDS)
            ),
            dns_lookup_family=DnsLookupFamily.ALL,
            typed_dns_resolver_config=extension(
                "envoy.network.dns_resolver.cares",
                CaresDnsResolverConfig(
                    query_timeout_seconds=DNS_ANSWER_SECONDS, query_tries=DNS_TRIES
                ),
            ),
        )
        cluster.cluster_type = ClusterCustomClusterType(
            name="envoy.cluster.dns", typed_config=packed(dns)
        )
    else:
        cluster.type = ClusterDiscoveryType.STATIC
    return cluster


def _endpoint(address: Address) -> EnvoyAddress:
    return envoy_address(address.for_clients if isinstance(address, TcpAddress) else address)


def _least_request() -> LoadBalancingPolicy:
    # The lesser of two at random. A full scan would be sure to find the replica with the fewest
    # checks, which is the one that has just lost them all, and a retry would never leave it.
    policy = LeastRequest(choice_count=2)
    return LoadBalancingPolicy(
        policies=[
            LoadBalancingPolicyPolicy(
                typed_extension_config=extension(
                    "envoy.load_balancing_policies.least_request", policy
                )
            )
        ]
    )


def _health(
    *,
    grpc_health_check: HealthCheckGrpcHealthCheck | None = None,
    http_health_check: HealthCheckHttpHealthCheck | None = None,
) -> HealthCheck:
    return HealthCheck(
        timeout=seconds(HEALTH_ANSWER_SECONDS),
        interval=seconds(HEALTH_INTERVAL_SECONDS),
        # Without traffic Envoy asks once a minute only, and the next request finds out.
        no_traffic_interval=seconds(HEALTH_INTERVAL_SECONDS),
        unhealthy_threshold=1,
        healthy_threshold=1,
        grpc_health_check=grpc_health_check,
        http_health_check=http_health_check,
    )


def _mutual_tls(config: Config, hosts: list[TcpAddress], alpn: str = "h2") -> TransportSocket:
    """Show our certificate, and ask for one of the CA for one of the names in ``authz_grpc``."""
    protocol = TlsParametersTlsProtocol
    context = UpstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_params=TlsParameters(
                tls_minimum_protocol_version=protocol.TLSv1_2,
                # Envoy's own limit as a client is 1.2.
                tls_maximum_protocol_version=protocol.TLSv1_3,
            ),
            tls_certificate_sds_secret_configs=[_secret(config, AUTHZ_CLIENT)],
            combined_validation_context=CommonTlsContextCombinedCertificateValidationContext(
                default_validation_context=CertificateValidationContext(
                    match_typed_subject_alt_names=[_name(host) for host in hosts]
                ),
                validation_context_sds_secret_config=_secret(config, AUTHZ_CA),
            ),
            alpn_protocols=[alpn],
        ),
        max_session_keys=0,
    )
    if len(hosts) == 1 and _numeric(hosts[0]) is None:
        context.sni = hosts[0].host
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _name(host: TcpAddress) -> SubjectAltNameMatcher:
    san_type, numeric = SubjectAltNameMatcherSanType, _numeric(host)
    if numeric is None:
        return SubjectAltNameMatcher(san_type=san_type.DNS, matcher=exactly(host.host.lower()))
    return SubjectAltNameMatcher(san_type=san_type.IP_ADDRESS, matcher=exactly(numeric))


def _numeric(host: TcpAddress) -> str | None:
    """Return an address as Envoy writes those of a certificate, since it compares text."""
    try:
        return str(ipaddress.ip_address(host.host))
    except ValueError:
        return None


def _secret(config: Config, name: str) -> SdsSecretConfig:
    return SdsSecretConfig(
        name=name,
        sds_config=ConfigSource(
            path_config_source=PathConfigSource(path=str(secret_file(config, name))),
            resource_api_version=ApiVersion.V3,
        ),
    )
