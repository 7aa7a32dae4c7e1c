"""The clusters of tunnels as they are rendered."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.envoy.tunnels import BLOCKED_CIDRS, blocked_networks
from tests.unit.certificates import rendering


def _cluster(document: dict[str, Any], name: str = "tunnel") -> dict[str, Any]:
    (found,) = [one for one in document["static_resources"]["clusters"] if one["name"] == name]
    result: dict[str, Any] = found
    return result


def _refused_by_rbac(document: dict[str, Any]) -> set[str]:
    (options,) = _cluster(document)["typed_extension_protocol_options"].values()
    rbac, codec = options["http_filters"]
    assert codec["name"] == "envoy.filters.http.upstream_codec"
    assert rbac["typed_config"]["rules"]["action"] == "DENY"
    (policy,) = rbac["typed_config"]["rules"]["policies"].values()
    assert policy["principals"] == [{"any": True}]
    (permission,) = policy["permissions"]
    ranges = [
        rule["matcher"]["typed_config"]["upstream_ip"] for rule in permission["or_rules"]["rules"]
    ]
    return {f"{one['address_prefix']}/{one['prefix_len']}" for one in ranges}


def _removed_from_dns(cache: dict[str, Any]) -> set[str]:
    ranges = cache["resolved_address_filter"]["ranges"]
    return {f"{one['address_prefix']}/{one['prefix_len']}" for one in ranges}


def _caches(document: dict[str, Any]) -> list[dict[str, Any]]:
    (proxy,) = [one for one in document["static_resources"]["listeners"] if one["name"] == "proxy"]
    filters = proxy["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    (resolve,) = [
        one for one in filters if one["name"] == "envoy.filters.http.dynamic_forward_proxy"
    ]
    return [
        resolve["typed_config"]["dns_cache_config"],
        _cluster(document)["cluster_type"]["typed_config"]["dns_cache_config"],
    ]


def test_private_addresses_are_refused_twice() -> None:
    """Every blocked range is removed from DNS answers, and refused when it is dialled."""
    document = rendering.document(proxy={})
    first, second = _caches(document)
    assert first == second
    assert _refused_by_rbac(document) == _removed_from_dns(first) == set(BLOCKED_CIDRS)


def test_allowed_range() -> None:
    """An allowed range is removed from the blocked ones, for DNS answers and connections."""
    document = rendering.document(proxy={"allowed_private_cidrs": ["10.1.0.0/16", "fd00::/8"]})
    refused = _refused_by_rbac(document)
    assert refused == _removed_from_dns(_caches(document)[0])
    assert "10.0.0.0/8" not in refused
    networks = [ipaddress.ip_network(cidr) for cidr in refused]
    for address, blocked in {
        "10.0.255.255": True,
        "10.1.0.0": False,
        "10.1.255.255": False,
        "10.2.0.0": True,
        "192.168.0.1": True,
        "fd00::1": False,
        "fc00::1": True,
        "fe80::1": True,
    }.items():
        assert any(ipaddress.ip_address(address) in one for one in networks) is blocked


def test_everything_allowed() -> None:
    """A range that holds all addresses leaves nothing blocked."""
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    assert blocked_networks(everything) == []


_addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(address=_addresses, hole=_addresses, bits=st.integers(0, 128))
def test_hole(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    hole: ipaddress.IPv4Address | ipaddress.IPv6Address,
    bits: int,
) -> None:
    """An address is blocked when it is in a blocked range and in no allowed one."""
    allowed = ipaddress.ip_network((hole, min(bits, hole.max_prefixlen)), strict=False)
    before = any(address in ipaddress.ip_network(cidr) for cidr in BLOCKED_CIDRS)
    after = any(address in network for network in blocked_networks([allowed]))
    assert after == (before and address not in allowed)


@pytest.mark.parametrize("cidr", BLOCKED_CIDRS)
def test_range_is_written_as_envoy_reads_it(cidr: str) -> None:
    """Each range is in canonical form, without bits after its prefix."""
    assert str(ipaddress.ip_network(cidr)) == cidr


def test_company_proxy() -> None:
    """The company's proxy is a cluster of its own, spoken to in clear."""
    document = rendering.document(proxy={"upstream_proxy": "http://proxy.test:3128"})
    cluster = _cluster(document, "upstream_proxy")
    assert "transport_socket" not in cluster
    (group,) = cluster["load_assignment"]["endpoints"]
    address = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == ("proxy.test", 3128)
