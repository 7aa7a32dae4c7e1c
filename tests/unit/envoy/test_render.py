"""authz.envoy.render, and the filters and listener that it puts together."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.certificates.trust import system_roots
from authz.config.settings import Config
from authz.core.header_names import (
    ACCOUNT_HEADERS,
    CREDENTIAL_HEADERS,
    REMOVED_HEADERS,
    REMOVED_PREFIXES,
    SESSION_HEADERS,
)
from authz.envoy import render as rendering
from authz.envoy.binary import validate
from authz.envoy.render import render
from tests.unit.envoy.rendered import http_filter, listener, manager, rendered, routes

DUMP = Path(__file__).parents[3] / "envoy" / "envoy.yaml"
CONFIGURATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"providers": []},
    {
        "proxy": {"ca": {"cert_file": "ca.pem", "key_file": "key.pem"}},
        "cors": {"origins": ["*"]},
        "tracing": {"otlp": "http://127.0.0.1:4317"},
        "usage": {"tags": True},
    },
)
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
        {
            "providers": [
                {
                    "name": "slow",
                    "type": "openai",
                    "base_url": "https://api.openai.com/v1/",
                    "first_byte_timeout": "10m",
                    "idle_timeout": "10m",
                    "outlier_detection": {},
                }
            ]
        },
    ],
    ids=["defaults", "TCP", "no provider", "other providers", "admin", "slow provider"],
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
    """The filters have this order: request id, ask authz, clean the headers, usage, route.

    The filter that delays anonymous requests is off, except on the routes without a check.
    The filter that changes answers to WebSockets is off, except on the routes of WebSockets.
    The filter that removes cookies is on, except on the routes of the API and the pages.
    """
    filters = manager(document)["http_filters"]
    names = [one["name"].rpartition(".")[2] for one in filters]
    assert names == [
        "anonymous",
        "fault",
        "set_filter_state",
        "rbac",
        "ext_authz",
        "header_mutation",
        "session",
        "custom_response",
        "ai_protocol_manager",
        "router",
    ]
    off = [name for name, one in zip(names, filters, strict=True) if one.get("disabled")]
    assert off == ["anonymous", "fault", "custom_response"]
    on = [
        route["name"]
        for route in routes(document)
        if "envoy.filters.http.custom_response" in route.get("typed_per_filter_config", {})
    ]
    assert on == ["openai WebSocket", "chatgpt WebSocket"]
    session = "envoy.filters.http.header_mutation.session"
    without = [one for one in routes(document) if session in one.get("typed_per_filter_config", {})]
    names = [one["name"] for one in without]
    assert set(names) == {"oauth", "Claude Code", "page", "token API"}
    assert names[-3:] == ["page", "token API", "token API"]
    assert all(one["typed_per_filter_config"][session]["disabled"] for one in without)


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
    """Headers of Coder or the gateway are removed; credentials are left to authz."""
    rules = [
        rule["remove_on_match"]["key_matcher"]["safe_regex"]["regex"]
        for name in ("header_mutation", "header_mutation.session")
        for rule in http_filter(document, name)["mutations"]["request_mutations"]
    ]

    def is_removed(name: str) -> bool:
        return any(re.fullmatch(pattern, name) for pattern in rules)

    assert all(map(is_removed, REMOVED_HEADERS))
    assert all(is_removed(f"{prefix}x") for prefix in REMOVED_PREFIXES)
    others = {*CREDENTIAL_HEADERS, *ACCOUNT_HEADERS, "viax", "xvia", "cookies", "accept", "host"}
    left = {name for name in others if not name.startswith(REMOVED_PREFIXES)}
    assert {"authorization", "x-api-key"} < left
    assert not any(map(is_removed, left))


def test_session_ids_are_removed_on_every_listener() -> None:
    """With ``usage.tags`` session ids are removed at the gateway and at the proxy's hosts."""
    provider = {"name": "one", "type": "openai", "base_url": "https://one.test/v1"}
    text = json.dumps(rendered(usage={"tags": True}, proxy={}, providers=[provider]))
    chains = text.count('"name": "envoy.filters.http.header_mutation.session"')
    assert chains == 2
    for name in SESSION_HEADERS:
        assert text.count(f"|{name}") == chains


def test_answers_lose_what_is_about_another_host(document: dict[str, Any]) -> None:
    """Cookies and the offer of HTTP/3 are the provider's own; the API and the pages set one."""
    for name, removed in (
        ("header_mutation", "alt-svc"),
        ("header_mutation.session", "set-cookie"),
    ):
        mutations = http_filter(document, name)["mutations"]["response_mutations"]
        assert mutations == [{"remove": removed}]


def test_the_text_is_the_document() -> None:
    """The order, comments, anchors and line breaks of the text do not change the document."""
    for values in CONFIGURATIONS:
        config = Config.model_validate(values)
        assert yaml.safe_load(render(config)) == rendering.document(config)


def test_the_text_is_for_readers() -> None:
    """Each section has one comment, in the order in which a request meets them."""
    lines = DUMP.read_text().splitlines()
    numbers = [line.split()[1] for line in lines if re.match(r" *# \d\.", line)]
    assert numbers == ["1.", "2.", "3.", "4.", "5.", "6.", "7."]
    assert len(lines) < 1350
    assert not any("mark" in line and "comment" in line for line in lines)


def test_every_cluster_that_is_named_exists() -> None:
    """Each named cluster exists, which `validate_clusters` does not check in the matcher tree."""
    for values in CONFIGURATIONS:
        static = rendered(**values)["static_resources"]
        named = set(re.findall(r"'cluster': '([^']+)'", str(static["listeners"])))
        assert named
        assert named <= {cluster["name"] for cluster in static["clusters"]}


def test_the_listener_is_hardened(document: dict[str, Any]) -> None:
    """The listener has the limits of an edge proxy, and normalizes paths."""
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
    """With little memory left Envoy frees some, then refuses requests, and last connections."""
    manager = rendered(envoy={"max_heap_mib": 64, "max_checks": 9})["overload_manager"]
    assert int(manager["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"]) == 64 << 20
    thresholds = [
        (action["name"].rpartition(".")[2], action["triggers"][0]["threshold"]["value"])
        for action in manager["actions"]
    ]
    assert next(name for name, _ in thresholds) == "shrink_heap"
    assert [name for name, _ in thresholds][-1] == "stop_accepting_connections"
    assert [value for _, value in thresholds] == sorted(value for _, value in thresholds)


def test_both_formats_of_the_access_log_have_the_same_fields(document: dict[str, Any]) -> None:
    """The log of usual requests and that of all others differ in no name."""
    logs = [log["typed_config"] for log in manager(document)["access_log"]]
    usual, others = (log["log_format"]["json_format"] for log in logs if "log_format" in log)
    assert [*usual] == [*others]
    assert usual["decision"] == "allow"
    assert usual["reason"] is None


def test_the_access_log_has_no_credential(document: dict[str, Any]) -> None:
    """The access log has neither a header that may hold a credential nor the query."""
    log = str(manager(document)["access_log"]).lower()
    for name in CREDENTIAL_HEADERS:
        assert f"%req({name}" not in log
    assert "%path" not in log
    assert "%req(:path" not in log
