"""Tunnels to other hosts: resolved by Envoy, refused for private addresses when dialled."""

import ipaddress
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCustomClusterType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    TypedExtensionConfig,
    UpstreamHttpProtocolOptions,
)
from envoy_data_plane.envoy.config.rbac.v3 import (
    Permission,
    PermissionSet,
    Policy,
    Principal,
    Rbac,
    RbacAction,
)
from envoy_data_plane.envoy.extensions.clusters.dynamic_forward_proxy.v3 import ClusterConfig
from envoy_data_plane.envoy.extensions.common.dynamic_forward_proxy.v3 import DnsCacheConfig
from envoy_data_plane.envoy.extensions.filters.http.dynamic_forward_proxy.v3 import FilterConfig
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as RbacFilter
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.rbac.matchers.upstream_ip_port.v3 import (
    UpstreamIpPortMatcher,
)

from authz.envoy.clusters import HTTP_OPTIONS, host_cluster, http1, limits
from authz.envoy.packing import packed
from authz.proxy.settings import Proxy
from authz.settings import Config

TUNNEL_CLUSTER = "tunnel"
UPSTREAM_PROXY_CLUSTER = "upstream_proxy"

BLOCKED_CIDRS = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
)
"""Coder's list (``coder-contract.md`` 4.6), multicast and IPv4-mapped addresses."""


def resolve_host() -> HttpFilter:
    """Resolve the host of a CONNECT that goes to the tunnel cluster."""
    return HttpFilter(
        name="envoy.filters.http.dynamic_forward_proxy",
        typed_config=packed(FilterConfig(dns_cache_config=_dns_cache())),
    )


def tunnel_clusters(config: Config, proxy: Proxy) -> list[Cluster]:
    """Return the cluster of tunnels, and that of the company's proxy if there is one."""
    limit = config.envoy.max_connections
    clusters = [_tunnels(proxy, limit)]
    if proxy.upstream_proxy is not None:
        clusters.append(host_cluster(UPSTREAM_PROXY_CLUSTER, proxy.upstream_proxy, limit))
    return clusters


def _tunnels(proxy: Proxy, limit: int) -> Cluster:
    protocol = http1()
    # The address that is really dialled is known here only, after DNS.
    protocol.http_filters = [_refuse_private(proxy), _codec()]
    # The cluster type demands both, though a tunnel's TLS is the client's.
    protocol.upstream_http_protocol_options = UpstreamHttpProtocolOptions(
        auto_sni=True, auto_san_validation=True
    )
    return Cluster(
        name=TUNNEL_CLUSTER,
        connect_timeout=timedelta(seconds=10),
        lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED,
        cluster_type=ClusterCustomClusterType(
            name="envoy.clusters.dynamic_forward_proxy",
            typed_config=packed(ClusterConfig(dns_cache_config=_dns_cache())),
        ),
        circuit_breakers=limits(limit),
        typed_extension_protocol_options={HTTP_OPTIONS: packed(protocol)},
    )


def _refuse_private(proxy: Proxy) -> HttpFilter:
    blocked = Permission(or_rules=PermissionSet(rules=[_to(cidr) for cidr in BLOCKED_CIDRS]))
    rules = [blocked]
    if proxy.allowed_private_cidrs:
        allowed = [_to(str(network)) for network in proxy.allowed_private_cidrs]
        rules.append(Permission(not_rule=Permission(or_rules=PermissionSet(rules=allowed))))
    policy = Policy(
        permissions=[Permission(and_rules=PermissionSet(rules=rules))],
        principals=[Principal(any=True)],
    )
    rbac = RbacFilter(rules=Rbac(action=RbacAction.DENY, policies={"private address": policy}))
    return HttpFilter(name="envoy.filters.http.upstream_rbac", typed_config=packed(rbac))


def _to(cidr: str) -> Permission:
    network = ipaddress.ip_network(cidr)
    matcher = UpstreamIpPortMatcher(
        upstream_ip=CidrRange(
            address_prefix=str(network.network_address), prefix_len=network.prefixlen
        )
    )
    return Permission(
        matcher=TypedExtensionConfig(
            name="envoy.rbac.matchers.upstream_ip_port", typed_config=packed(matcher)
        )
    )


def _codec() -> HttpFilter:
    return HttpFilter(
        name="envoy.filters.http.upstream_codec", typed_config=packed(UpstreamCodec())
    )


def _dns_cache() -> DnsCacheConfig:
    # Filter and cluster share one cache by its name, and have to describe it alike.
    return DnsCacheConfig(name="tunnels", dns_lookup_family=ClusterDnsLookupFamily.ALL)
