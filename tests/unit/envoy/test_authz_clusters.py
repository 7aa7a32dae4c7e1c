"""authz.envoy.authz_clusters."""

from pathlib import Path
from typing import Any

import pytest

from authz.envoy import filters
from authz.identity.batch import LOOK_UP_SECONDS
from tests.support.certificates import Authority
from tests.unit.envoy.rendered import cluster, http_filter, manager, rendered


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a certificate, its key and its CA."""
    authority = Authority(tmp_path_factory.mktemp("ca"), "ca")
    cert_file, key_file = authority.issue()
    return {
        "cert_file": str(cert_file),
        "key_file": str(key_file),
        "ca_file": str(authority.ca_file),
    }


def _addresses(found: dict[str, Any]) -> list[dict[str, Any]]:
    (locality,) = found["load_assignment"]["endpoints"]
    return [one["endpoint"]["address"] for one in locality["lb_endpoints"]]


def _tcp(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


@pytest.mark.parametrize(
    ("grpc", "address"),
    [
        ("unix:/run/a.sock", {"pipe": {"path": "/run/a.sock"}}),
        ("127.0.0.1:9000", _tcp("127.0.0.1", 9000)),
    ],
)
def test_the_only_one(grpc: str, address: dict[str, Any]) -> None:
    """Checks go to authz's address over HTTP/2, which gRPC needs."""
    found = cluster(rendered(authz={"grpc": grpc}), "authz")
    assert _addresses(found) == [address]
    assert found.get("type", "STATIC") == "STATIC"
    assert "http2_protocol_options" in str(found["typed_extension_protocol_options"])
    assert "transport_socket" not in found


def test_a_wildcard_is_asked_on_loopback() -> None:
    """An authz that listens on every address is asked on loopback."""
    document = rendered(authz={"grpc": "0.0.0.0:9001", "insecure": True, "http": "0.0.0.0:8081"})
    assert _addresses(cluster(document, "authz")) == [_tcp("127.0.0.1", 9001)]
    assert _addresses(cluster(document, "authz_http")) == [_tcp("127.0.0.1", 8081)]


def test_envoys_own_way_to_the_http_side(tls: dict[str, str]) -> None:
    """Beside a Unix socket for checks Envoy has one for HTTP; over TCP it shows its certificate."""
    found = cluster(rendered(authz={"grpc": "unix:/run/a.sock"}), "authz_http")
    assert _addresses(found) == [{"pipe": {"path": "/run/a-http.sock"}}]
    authz = {"grpc": "0.0.0.0:9001", "envoy_http": "0.0.0.0:8082", "tls": tls}
    found = cluster(rendered(authz=authz, envoy={"authz_http": ["authz:8082"]}), "authz_http")
    assert _addresses(found) == [_tcp("authz", 8082)]
    common = found["transport_socket"]["typed_config"]["common_tls_context"]
    assert common["alpn_protocols"] == ["http/1.1"]
    assert common["tls_certificate_sds_secret_configs"]


def test_replicas_by_address(tls: dict[str, str]) -> None:
    """Each address is an endpoint; any of them has to be in the certificate."""
    hosts = ["10.0.0.1:9001", "[fd00:0::2]:9001"]
    found = cluster(
        rendered(authz={"grpc": "0.0.0.0:9001", "tls": tls}, envoy={"authz_grpc": hosts}), "authz"
    )
    assert _addresses(found) == [_tcp("10.0.0.1", 9001), _tcp("fd00:0::2", 9001)]
    assert found.get("type", "STATIC") == "STATIC"
    common = found["transport_socket"]["typed_config"]["common_tls_context"]
    context = common["combined_validation_context"]["default_validation_context"]
    assert context["match_typed_subject_alt_names"] == [
        {"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.1"}},
        {"san_type": "IP_ADDRESS", "matcher": {"exact": "fd00::2"}},
    ]


def test_replicas_by_name(tls: dict[str, str]) -> None:
    """A name stands for all its addresses, and has to be in the certificate."""
    document = rendered(
        authz={"grpc": "0.0.0.0:9001", "tls": tls},
        envoy={"authz_grpc": ["Authz.example:9001"], "authz_http": ["authz.example:8081"]},
    )
    found = cluster(document, "authz")
    for one in (found, cluster(document, "authz_http")):
        dns = one["cluster_type"]["typed_config"]
        assert one["cluster_type"]["name"] == "envoy.cluster.dns"
        assert "all_addresses_in_single_endpoint" not in dns
        assert "respect_dns_ttl" not in dns
        assert one["health_checks"]
    tls_config = found["transport_socket"]["typed_config"]
    common = tls_config["common_tls_context"]
    context = common["combined_validation_context"]["default_validation_context"]
    assert tls_config["sni"] == "Authz.example"
    assert context["match_typed_subject_alt_names"] == [
        {"san_type": "DNS", "matcher": {"exact": "authz.example"}}
    ]
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert common["alpn_protocols"] == ["h2"]


def test_both_secrets_are_watched_files(tls: dict[str, str]) -> None:
    """Certificate and CA come from files that Envoy reads again; no key is in the dump."""
    found = cluster(rendered(authz={"grpc": "127.0.0.1:9001", "tls": tls}), "authz")
    common = found["transport_socket"]["typed_config"]["common_tls_context"]
    (shown,) = common["tls_certificate_sds_secret_configs"]
    trusted = common["combined_validation_context"]["validation_context_sds_secret_config"]
    for secret, name in ((shown, "authz-client"), (trusted, "authz-ca")):
        assert secret["name"] == name
        path = Path(secret["sds_config"]["path_config_source"]["path"])
        assert path == Path(".authz/sds") / f"{name}-8080.yaml"


def test_only_tcp_is_watched() -> None:
    """A Unix socket has no health checks, because there is no second authz behind it."""
    assert "health_checks" not in cluster(rendered(), "authz")
    assert "keepalive" not in str(cluster(rendered(), "authz"))
    found = cluster(rendered(authz={"grpc": "127.0.0.1:9001"}), "authz")
    (check,) = found["health_checks"]
    assert check["grpc_health_check"] == {}
    assert "connection_keepalive" in str(found["typed_extension_protocol_options"])


def test_each_replica_is_told(tls: dict[str, str]) -> None:
    """Each address has a cluster for refused keys, with health checks only if it is a name."""
    hosts = ["127.0.0.1:9001", "Authz.example:9001"]
    authz = {"grpc": "127.0.0.1:9001", "tls": tls}
    document = rendered(authz=authz, envoy={"authz_grpc": hosts, "authz_http": ["127.0.0.1:8082"]})
    logs = [
        log["typed_config"]["common_config"]["grpc_service"]["envoy_grpc"]["cluster_name"]
        for log in manager(document)["access_log"]
        if log["name"].endswith("http_grpc")
    ]
    assert logs == ["authz_0", "authz_1"]
    assert [bool(cluster(document, name).get("health_checks")) for name in logs] == [False, True]
    assert _addresses(cluster(document, "authz_0")) == [_tcp("127.0.0.1", 9001)]


def test_nothing_is_ejected() -> None:
    """Outlier detection would eject the healthy one of two replicas."""
    for name in ("authz", "authz_http"):
        assert "outlier_detection" not in cluster(rendered(), name)


def test_a_try_outlasts_the_slowest_look_up() -> None:
    """A slow identity source is not asked twice, and there is time for a second replica."""
    policy = http_filter(rendered(), "ext_authz")["grpc_service"]["retry_policy"]
    # The longest back-off is the timeout of a try.
    assert float(policy["retry_back_off"]["max_interval"].removesuffix("s")) > LOOK_UP_SECONDS
    assert filters.TRY_SECONDS < filters.CHECK_SECONDS
    (predicate,) = policy["retry_host_predicate"]
    assert predicate["name"] == "envoy.retry_host_predicates.previous_hosts"
