"""Tunnels to other hosts: resolved by Envoy, refused for private addresses when dialled."""

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

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
from envoy_data_plane.envoy.type.matcher.v3 import AddressMatcher
from envoy_data_plane.xds.core import v3 as xds

from authz.config.proxy import Proxy
from authz.config.settings import Config
from authz.envoy.clusters import HTTP_OPTIONS, host_cluster, http1, limits
from authz.envoy.packing import packed

TUNNEL_CLUSTER = "tunnel"
UPSTREAM_PROXY_CLUSTER = "upstream_proxy"

BLOCKED_CIDRS = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
"""The list of Coder's proxy, multicast, IPv6 addresses with an IPv4 address inside,
and Azure's WireServer, a metadata service at a public address."""

_MAX_HOSTS = 10_000
"""Names in the DNS cache. At Envoy's 1024 one user could keep all others out for minutes."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_N = TypeVar("_N", ipaddress.IPv4Network, ipaddress.IPv6Network)


def blocked_networks(allowed: Iterable[Network]) -> list[Network]:
    """Return the blocked networks without the allowed ones; no tunnel may go there."""
    blocked: list[Network] = [ipaddress.ip_network(cidr) for cidr in BLOCKED_CIDRS]
    for hole in allowed:
        blocked = [rest for network in blocked for rest in _without(network, hole)]
    return blocked


def _without(network: Network, hole: Network) -> Sequence[Network]:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(hole, ipaddress.IPv4Network):
        return _remainder(network, hole)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(hole, ipaddress.IPv6Network):
        return _remainder(network, hole)
    return [network]


def _remainder(network: _N, hole: _N) -> list[_N]:
    if network.subnet_of(hole):
        return []
    if not hole.subnet_of(network):
        return [network]
    return sorted(network.address_exclude(hole))


def resolve_host(proxy: Proxy) -> HttpFilter:
    """Resolve the host of a CONNECT that goes to the tunnel cluster."""
    return HttpFilter(
        name="envoy.filters.http.dynamic_forward_proxy",
        typed_config=packed(FilterConfig(dns_cache_config=_dns_cache(proxy))),
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
            typed_config=packed(ClusterConfig(dns_cache_config=_dns_cache(proxy))),
        ),
        circuit_breakers=limits(limit),
        typed_extension_protocol_options={HTTP_OPTIONS: packed(protocol)},
    )


def _refuse_private(proxy: Proxy) -> HttpFilter:
    rules = [_to(network) for network in blocked_networks(proxy.allowed_private_cidrs)]
    policy = Policy(
        permissions=[Permission(or_rules=PermissionSet(rules=rules))],
        principals=[Principal(any=True)],
    )
    rbac = RbacFilter(rules=Rbac(action=RbacAction.DENY, policies={"private address": policy}))
    return HttpFilter(name="envoy.filters.http.upstream_rbac", typed_config=packed(rbac))


def _to(network: Network) -> Permission:
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


def _dns_cache(proxy: Proxy) -> DnsCacheConfig:
    # Filter and cluster share one cache by its name, and have to describe it alike.
    return DnsCacheConfig(
        name="tunnels",
        dns_lookup_family=ClusterDnsLookupFamily.ALL,
        max_hosts=_MAX_HOSTS,
        # RBAC sees the first address alone, and Envoy dials the others when that one fails.
        resolved_address_filter=AddressMatcher(
            ranges=[
                xds.CidrRange(
                    address_prefix=str(network.network_address), prefix_len=network.prefixlen
                )
                for network in blocked_networks(proxy.allowed_private_cidrs)
            ]
        ),
    )
