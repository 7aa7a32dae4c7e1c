"""Tracing as it is rendered: everywhere that requests of clients come, and nowhere without it."""

from pathlib import Path
from typing import Any

from authz.certificates.trust import system_roots
from authz.config.settings import Config
from authz.envoy.binary import validate
from authz.envoy.render import render
from tests.unit.envoy.rendered import cluster, rendered

COLLECTOR = {"otlp": "https://collector.example.com", "sample": 0.25}


def _managers(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        found = [value] if "http_filters" in value and "stat_prefix" in value else []
        return found + [one for inner in value.values() for one in _managers(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _managers(inner)]
    return []


def test_every_listener_of_clients_is_traced(tmp_path: Path) -> None:
    """Gateway, proxy and tunnels are traced without propagation; the metrics listener is not."""
    files = {"cert_file": str(tmp_path / "ca.pem"), "key_file": str(tmp_path / "ca-key.pem")}
    for file in files.values():
        Path(file).touch()
    proxy = {"listen": "127.0.0.1:8888", "ca": files}
    metrics = {"metrics": "127.0.0.1:9902"}
    values = {"tracing": COLLECTOR, "proxy": proxy, "envoy": metrics}
    managers = {one["stat_prefix"]: one for one in _managers(rendered(**values))}
    assert {"gateway", "proxy", "intercept_api.openai.com"} <= managers.keys()
    for name, manager in managers.items():
        # Prometheus' own questions are none of a client's.
        assert ("tracing" in manager) == (name != "metrics"), name
        if "tracing" in manager:
            assert manager["tracing"]["no_context_propagation"] is True
            assert manager["tracing"]["random_sampling"] == {"value": 25.0}
            assert manager["tracing"]["max_path_tag_length"] == 0
            assert manager["early_header_mutation_extensions"]


def test_the_collector_is_verified(tmp_path: Path) -> None:
    """Over TLS Envoy asks for a certificate of the collector's name."""
    document = rendered(tracing=COLLECTOR)
    context = cluster(document, "otlp")["transport_socket"]["typed_config"]
    assert context["sni"] == "collector.example.com"
    validation = context["common_tls_context"]["validation_context"]
    assert validation["trusted_ca"] == {"filename": str(system_roots())}
    assert validation["match_typed_subject_alt_names"]
    file = tmp_path / "envoy.yaml"
    file.write_text(render(Config.model_validate({"tracing": COLLECTOR})))
    validate(file)


def test_nothing_without_it() -> None:
    """Without the section Envoy's configuration does not know of traces."""
    text = render(Config())
    assert not {word for word in ("tracing", "otlp", "traceparent", "TRACE_ID") if word in text}
