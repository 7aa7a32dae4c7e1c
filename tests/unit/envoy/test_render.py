"""authz.envoy.render, and the filters and listener that it puts together."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from authz.certificates.trust import system_roots
from authz.config.settings import Config
from authz.core.header_names import CREDENTIAL_HEADERS, REMOVED_HEADERS, REMOVED_PREFIXES
from authz.envoy.binary import validate
from authz.envoy.render import render
from tests.unit.envoy.rendered import http_filter, listener, manager, rendered, routes

DUMP = Path(__file__).parents[3] / "envoy" / "envoy.yaml"
A_KEY = "sk-ant-api03-0123456789abcdef"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The configuration for the defaults."""
    return rendered()


def test_the_dump_is_not_stale(tmp_path: Path) -> None:
    """envoy/envoy.yaml is what the command prints for the defaults."""
    printed = subprocess.run(
        [sys.executable, "-m", "authz", "envoy", "render"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # The dump is made on Debian; elsewhere the system's roots are in another file.
    printed = printed.replace(str(system_roots()), "/etc/ssl/certs/ca-certificates.crt")
    assert DUMP.read_text() == printed, (
        "envoy/envoy.yaml is stale: run `authz envoy render -o envoy/envoy.yaml` without a"
        " gateway.yaml, and look at the difference"
    )


def test_envoy_accepts_the_dump() -> None:
    """The real Envoy validates the file in the repository."""
    validate(DUMP)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"authz": {"grpc": "127.0.0.1:9000", "http": "[::1]:9001"}, "listen": "[::]:8080"},
        {"providers": []},
        {
            "providers": [
                {"name": "a", "type": "openai-compat", "base_url": "http://localhost:1/a/b"},
                {"name": "b", "type": "google", "base_url": "https://10.0.0.1:8443/v1beta/openai"},
                {"name": "c", "type": "anthropic", "base_url": "https://[::1]/x"},
            ]
        },
        {"envoy": {"admin": "127.0.0.1:9901", "drain_timeout": 0, "max_connections": 1}},
    ],
    ids=["defaults", "TCP", "no provider", "other providers", "admin"],
)
def test_envoy_accepts_what_is_rendered(values: dict[str, object], tmp_path: Path) -> None:
    """The real Envoy validates every kind of configuration."""
    path = tmp_path / "envoy.yaml"
    path.write_text(render(Config.model_validate(values)))
    validate(path)


def test_no_key_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys reach Envoy with the answer to a check, never with its configuration."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", A_KEY)
    text = render(Config())
    assert A_KEY not in text
    assert "API_KEY" not in text


def test_authz_is_asked_before_anything_leaves(document: dict[str, Any]) -> None:
    """The order of the filters: request id, ask authz, clean the headers, usage, route.

    What changes a provider's answer to a WebSocket is off, except on the routes of WebSockets, and
    what cleans the headers less, except on those of the token API.
    """
    filters = manager(document)["http_filters"]
    names = [one["name"].rpartition(".")[2] for one in filters]
    assert names == [
        "set_filter_state",
        "rbac",
        "ext_authz",
        "header_mutation",
        "api",
        "custom_response",
        "ai_protocol_manager",
        "router",
    ]
    off = [name for name, one in zip(names, filters, strict=True) if one.get("disabled")]
    assert off == ["api", "custom_response"]
    on = [
        route["name"]
        for route in routes(document)
        if "envoy.filters.http.custom_response" in route.get("typed_per_filter_config", {})
    ]
    assert on == ["openai WebSocket", "chatgpt WebSocket"]
    api = "envoy.filters.http.header_mutation.api"
    on = [one["name"] for one in routes(document) if api in one.get("typed_per_filter_config", {})]
    assert on == ["token API", "page", "token API", "token API"]


def test_what_fails_is_refused(document: dict[str, Any]) -> None:
    """Without an answer of authz in time there is a 503, never a pass."""
    config = http_filter(document, "ext_authz")
    assert config.get("failure_mode_allow", False) is False
    assert config.get("failure_mode_allow_header_add", False) is False
    assert config["status_on_error"] == {"code": "ServiceUnavailable"}
    assert config["grpc_service"]["timeout"] == "2s"
    assert config["encode_raw_headers"] is True
    assert config["validate_mutations"] is True
    assert "with_request_body" not in config
    assert config["decoder_header_mutation_rules"]["disallow_system"] is True


def test_the_removal_list(document: dict[str, Any]) -> None:
    """What belongs to Coder or the gateway is removed; credentials are left to authz."""
    rules = http_filter(document, "header_mutation")["mutations"]["request_mutations"]
    matchers = [rule["remove_on_match"]["key_matcher"] for rule in rules]
    assert matchers == [
        *({"exact": name} for name in REMOVED_HEADERS),
        *({"prefix": prefix} for prefix in REMOVED_PREFIXES),
    ]
    assert not set(REMOVED_HEADERS) & set(CREDENTIAL_HEADERS)
    assert not {"authorization", "x-api-key"} & {
        name for name in CREDENTIAL_HEADERS if name.startswith(REMOVED_PREFIXES)
    }


def test_the_listener_is_hardened(document: dict[str, Any]) -> None:
    """The limits of an edge proxy, and paths in one form only."""
    config = manager(document)
    assert config["use_remote_address"] is True
    assert config["normalize_path"] is True
    assert config["merge_slashes"] is True
    assert config["path_with_escaped_slashes_action"] == "KEEP_UNCHANGED"
    common = config["common_http_protocol_options"]
    assert common["headers_with_underscores_action"] == "DROP_HEADER"
    # With room for what authz adds; a filter holds clients to 100 and 60.
    assert common["max_headers_count"] == 128
    assert config["max_request_headers_kb"] == 72
    assert config["request_headers_timeout"] == "10s"
    assert config["stream_idle_timeout"] == "900s"
    assert "request_timeout" not in config


def test_settings_reach_envoy() -> None:
    """Listener, admin socket, idle timeout and connections are the configuration's."""
    document = rendered(
        listen="0.0.0.0:1234", envoy={"stream_idle_timeout": 5, "max_connections": 7}
    )
    address = listener(document)["address"]["socket_address"]
    assert address == {"address": "0.0.0.0", "port_value": 1234}
    assert document["admin"]["address"]["pipe"]["path"].endswith("admin-1234.sock")
    assert manager(document)["stream_idle_timeout"] == "5s"
    connections = document["overload_manager"]["resource_monitors"][1]["typed_config"]
    assert int(connections["max_active_downstream_connections"]) == 7


def test_memory_has_a_limit() -> None:
    """Short of it Envoy gives memory back, then refuses requests, and connections last."""
    manager = rendered(envoy={"max_heap_mib": 64, "max_checks": 9})["overload_manager"]
    assert int(manager["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"]) == 64 << 20
    thresholds = [
        (action["name"].rpartition(".")[2], action["triggers"][0]["threshold"]["value"])
        for action in manager["actions"]
    ]
    assert next(name for name, _ in thresholds) == "shrink_heap"
    assert [name for name, _ in thresholds][-1] == "stop_accepting_connections"
    assert [value for _, value in thresholds] == sorted(value for _, value in thresholds)


def test_the_access_log_has_no_credential(document: dict[str, Any]) -> None:
    """No header that may hold one is logged, nor the query."""
    log = str(manager(document)["access_log"]).lower()
    for name in CREDENTIAL_HEADERS:
        assert f"%req({name}" not in log
    assert "%path" not in log
    assert "%req(:path" not in log
