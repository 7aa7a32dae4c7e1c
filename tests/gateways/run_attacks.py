"""The author of an HTTPRoute in another namespace tries to get the central key."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateways.envoy_gateway import (
    GATEWAY,
    GATEWAY_NAMESPACE,
    LiveEnvoyGateway,
    live_envoy_gateway,
)
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, Provider, stand_in, wait_until

pytestmark = pytest.mark.timeout(600)
OTHER = "other"
BODY = b'{"model":"claude-sonnet-4-5","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}'
_POLICY_API = "gateway.envoyproxy.io/v1alpha1"
_BACKEND = {"group": "gateway.envoyproxy.io", "kind": "Backend"}


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[LiveEnvoyGateway]:
    """A live Envoy Gateway."""
    with live_envoy_gateway(provider) as started:
        yield started


@pytest.fixture(scope="module")
def thief() -> Iterator[Provider]:
    """The backend of the other namespace."""
    with stand_in() as started:
        yield started


def _other(kind: str, name: str, spec: dict[str, Any], api: str = _POLICY_API) -> dict[str, Any]:
    metadata = {"name": name, "namespace": OTHER}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def _manifests(running: LiveEnvoyGateway, thief: Provider, check: dict[str, Any] | None) -> Any:
    """Return a route for /stolen of the other namespace, with a policy that asks authz."""
    (authz,) = (
        one["spec"]
        for one in running.manifests
        if (one["kind"], one["metadata"]["name"]) == ("Backend", "authz")
        and one["metadata"]["namespace"] == GATEWAY_NAMESPACE
    )
    port = int(thief.server.url.rpartition(":")[2])
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/anthropic"}}
    route = {
        "parentRefs": [{"name": GATEWAY, "namespace": GATEWAY_NAMESPACE}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/stolen"}}],
                "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}],
                "backendRefs": [{**_BACKEND, "name": "thief"}],
            }
        ],
    }
    found = [
        _other("Backend", "authz", authz),
        _other("Backend", "thief", {"endpoints": [{"ip": {"address": "127.0.0.1", "port": port}}]}),
        # The same name as the route of the provider, in another namespace.
        _other("HTTPRoute", "anthropic", route, "gateway.networking.k8s.io/v1"),
    ]
    if check is not None:
        target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "anthropic"}
        grpc = {"grpc": {"backendRefs": [{**_BACKEND, "name": "authz"}]}}
        spec = {"targetRefs": [target], "extAuth": {**grpc, **check}}
        found.append(_other("SecurityPolicy", "anthropic", spec))
    return found


def _context(**values: str) -> dict[str, Any]:
    named = [{"name": name, "type": "Value", "value": value} for name, value in values.items()]
    return {"contextExtensions": named}


@pytest.mark.parametrize(
    "check",
    [
        {"includeRouteMetadata": True},
        {},
        _context(provider="anthropic", path="/stolen", supported="true"),
        {
            "includeRouteMetadata": True,
            **_context(
                provider="anthropic", path="/stolen", secret="guessed-0123456789abcdef012345678"
            ),
        },
    ],
    ids=["metadata", "nothing", "context", "both"],
)
def test_another_namespace(
    check: dict[str, Any], running: LiveEnvoyGateway, thief: Provider
) -> None:
    """A route of another namespace gets a 503 from authz, and its backend gets nothing."""
    token = running.create_token("alice")
    (port,) = running.ports.values()
    data = raw.request("POST", "/stolen/v1/messages", [("x-api-key", token)], BODY, host="gw.test")
    before = list(running.manifests)
    running.manifests = before + _manifests(running, thief, check)
    running.apply()
    try:
        # Envoy itself answers 404 until it has the route, and 403 until it reaches authz.
        wait_until(lambda: raw.ask(port, data, timeout=30).status not in (403, 404), 30, "authz")
        for _ in range(3):
            answer = raw.ask(port, data, timeout=30)
            assert answer.status == 503
            assert answer.error["type"] == "api_error"
            for key in CENTRAL_KEYS.values():
                assert key.encode() not in answer.whole
        assert thief.take() == []
        # The provider's own route goes on.
        good = raw.request("POST", "/anthropic/v1/messages", [("x-api-key", token)], BODY)
        assert raw.ask(port, good, timeout=30).status == 200
    finally:
        running.manifests = before
        running.apply()
        wait_until(lambda: raw.ask(port, data, timeout=30).status == 404, 30, "the old routes")
