"""authz.envoy.claude_code_routes: the sign-in at the root and below a provider's base."""

from typing import Any

import pytest

from authz.check.ext_authz import CONTEXT_KIND, KIND_AUTHZ
from tests.unit.envoy.rendered import chosen, cluster, facts, rendered, upstream_path

OTHER: list[dict[str, Any]] = [
    {"name": "first", "type": "anthropic", "base_url": "https://a.test/"},
    {"name": "second", "type": "anthropic", "base_url": "https://b.test/below"},
    {"name": "openai", "type": "openai", "base_url": "https://c.test/v1"},
]
SIGN_IN = ("/oauth/device_authorization", "/oauth/revoke", "/oauth/token", "/managed/settings")


def test_messages_at_the_root() -> None:
    """The chosen provider serves messages at the root as below its base, and no other path."""
    document = rendered(providers=OTHER, sign_in={"claude_code": {"provider": "second"}})
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        route = chosen(document, "POST", path)
        assert facts(route) == facts(chosen(document, "POST", f"/second{path}"))
        assert route["route"]["cluster"] == "provider_second"
        assert upstream_path(route, path) == f"/below{path}"
    for path in ("/v1/messages/x", "/v1/complete", "/v1/models", "/v1/messages/../models"):
        assert "direct_response" in chosen(document, "POST", path)


def test_below_each_provider_of_the_type() -> None:
    """Each provider of type anthropic has the sign-in below its base; others have none."""
    document = rendered(providers=OTHER)
    for path in SIGN_IN:
        assert chosen(document, "POST", path)["route"]["cluster"] == "authz_http"
        for name in ("first", "second"):
            route = chosen(document, "POST", f"/api/v2/ai-gateway/{name}{path}")
            assert route["route"]["cluster"] == "authz_http"
            assert route["route"]["path_rewrite"].startswith(path)
        assert "direct_response" in chosen(document, "POST", f"/openai{path}")


@pytest.mark.parametrize("base", ["", "/first"])
def test_telemetry_is_accepted_after_a_check(base: str) -> None:
    """Telemetry is a 200 that Envoy answers, for callers whose token authz has checked."""
    document = rendered(providers=OTHER)
    for signal in ("metrics", "logs", "traces"):
        route = chosen(document, "POST", f"{base}/v1/{signal}")
        assert route["direct_response"]["status"] == 200
        assert facts(route) == {CONTEXT_KIND: KIND_AUTHZ}
        assert chosen(document, "GET", f"{base}/v1/{signal}")["direct_response"]["status"] == 404


@pytest.mark.parametrize("base", ["", "/first"])
def test_telemetry_for_a_collector(base: str) -> None:
    """With a collector, telemetry goes there after the check, in TLS with its own CA."""
    telemetry = {"otlp": "https://collector.test/below", "ca_file": "/ca.pem"}
    providers = [*OTHER[1:], {**OTHER[0], "credential_headers": ["x-team-key"]}]
    document = rendered(providers=providers, sign_in={"claude_code": {"telemetry": telemetry}})
    for signal in ("metrics", "logs", "traces"):
        path = f"{base}/v1/{signal}"
        route = chosen(document, "POST", path)
        assert route["route"]["cluster"] == "telemetry"
        assert upstream_path(route, path) == f"/below/v1/{signal}"
        assert facts(route) == {CONTEXT_KIND: KIND_AUTHZ}
        assert "x-team-key" in route["request_headers_to_remove"]
        assert chosen(document, "GET", path)["direct_response"]["status"] == 404
    socket = cluster(document, "telemetry")["transport_socket"]["typed_config"]
    trusted = socket["common_tls_context"]["validation_context"]["trusted_ca"]
    assert trusted == {"filename": "/ca.pem"}


@pytest.mark.parametrize(
    "settings",
    [
        {"sign_in": {"claude_code": {"enabled": False}}},
        {"identity": "https://coder.test"},
        {"providers": OTHER[2:]},
    ],
)
def test_off(settings: dict[str, Any]) -> None:
    """The sign-in has no routes if it is off, with Coder's users, or without a provider."""
    document = rendered(**settings)
    for path in (*SIGN_IN, "/v1/messages", "/v1/metrics"):
        assert chosen(document, "POST", path)["name"] == "unknown"
