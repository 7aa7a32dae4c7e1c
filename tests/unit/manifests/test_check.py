"""The check of manifests."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from authz.config.settings import Config
from authz.manifests.check import check
from authz.manifests.documents import Fields, Manifest
from tests.unit.manifests.conftest import external_config

Change = Callable[[Fields], None]


def _without(*path: Any) -> Change:
    def change(fields: Fields) -> None:
        value: Any = fields
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return change


def _with(value: Any, *path: Any) -> Change:
    def change(fields: Fields) -> None:
        place: Any = fields
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


_EXT_AUTH = ("spec", "extAuth")
_RULE = ("spec", "rules", 0)
_MESH = ("meshConfig", "extensionProviders")
_GRPC = (*_MESH, 0, "envoyExtAuthzGrpc")
_HTTP = ("spec", "http", 0)

CASES: list[tuple[str, str, Change | None, str]] = [
    # kind, name, the change (None removes the manifest), what the finding names
    ("SecurityPolicy", "anthropic", _without(*_EXT_AUTH, "statusOnError"), "statusOnError: 503"),
    ("SecurityPolicy", "anthropic", _with(403, *_EXT_AUTH, "statusOnError"), "statusOnError: 503"),
    ("SecurityPolicy", "anthropic", _without(*_EXT_AUTH, "timeout"), "extAuth.timeout: 2s"),
    ("SecurityPolicy", "anthropic", _with("1m", *_EXT_AUTH, "timeout"), "extAuth.timeout: 2s"),
    ("SecurityPolicy", "openai", _with(True, *_EXT_AUTH, "failOpen"), "failOpen: false"),
    (
        "SecurityPolicy",
        "openai",
        _with(["authorization"], *_EXT_AUTH, "headersToExtAuth"),
        "remove spec.extAuth.headersToExtAuth",
    ),
    (
        "SecurityPolicy",
        "anthropic",
        _with({"maxRequestBytes": 1024}, *_EXT_AUTH, "bodyToExtAuth"),
        "remove spec.extAuth.bodyToExtAuth",
    ),
    ("SecurityPolicy", "anthropic", _with(True, *_EXT_AUTH, "recomputeRoute"), "recomputeRoute"),
    (
        "SecurityPolicy",
        "anthropic",
        _without(*_EXT_AUTH, "includeRouteMetadata"),
        "includeRouteMetadata: true",
    ),
    ("SecurityPolicy", "anthropic", _with({}, *_EXT_AUTH, "grpc"), "spec.extAuth.grpc"),
    ("SecurityPolicy", "anthropic", _without(*_EXT_AUTH), "a SecurityPolicy with extAuth"),
    ("SecurityPolicy", "anthropic", None, "a SecurityPolicy with extAuth"),
    (
        "SecurityPolicy",
        "anthropic",
        _with("other", "spec", "targetRefs", 0, "sectionName"),
        "a SecurityPolicy with extAuth",
    ),
    ("HTTPRoute", "anthropic", _without(*_RULE, "timeouts"), "timeouts.request: 0s"),
    ("HTTPRoute", "openai", _with("30s", *_RULE, "timeouts", "request"), "timeouts.request: 0s"),
    ("HTTPRoute", "openai", _without(*_RULE, "filters", 1), "set-cookie, alt-svc"),
    (
        "HTTPRoute",
        "openai",
        _with(["Set-Cookie"], *_RULE, "filters", 1, "responseHeaderModifier", "remove"),
        "set-cookie, alt-svc",
    ),
    (
        "HTTPRoute",
        "anthropic",
        _with({"type": "RequestMirror", "requestMirror": {}}, *_RULE, "filters", 1),
        "remove the RequestMirror",
    ),
    (
        "HTTPRoute",
        "openai",
        _with("/openai", *_RULE, "matches", 0, "path", "value"),
        "below /llm/openai",
    ),
    ("HTTPRoute", "anthropic", None, "HTTPRoute ai/anthropic is in no file"),
    ("Backend", "authz", _without("spec", "tls", "clientCertificateRef"), "clientCertificateRef"),
    ("Backend", "authz", _without("spec", "tls", "caCertificateRefs"), "caCertificateRefs"),
    ("Backend", "authz", _with(True, "spec", "tls", "insecureSkipVerify"), "caCertificateRefs"),
    ("Backend", "authz", _without("spec", "tls"), "spec.tls"),
    ("BackendTLSPolicy", "provider-openai", None, "a BackendTLSPolicy for provider-openai"),
    ("EnvoyProxy", "public-authz", None, "spec.telemetry.accessLog"),
    (
        "EnvoyProxy",
        "public-authz",
        _without("spec", "telemetry", "accessLog", "settings", 0, "format", "json", "authz.entry"),
        "spec.telemetry.accessLog",
    ),
    ("AuthorizationPolicy", "authz", None, "an AuthorizationPolicy with action: CUSTOM"),
    ("AuthorizationPolicy", "authz", _without("spec", "rules"), "spec.rules: [{}]"),
    (
        "AuthorizationPolicy",
        "authz",
        _with([{"to": [{"operation": {"paths": ["/v1/*"]}}]}], "spec", "rules"),
        "spec.rules: [{}]",
    ),
    ("AuthorizationPolicy", "authz", _with("x", "spec", "provider", "name"), "a provider of"),
    ("", "", _without(*_GRPC, "statusOnError"), 'statusOnError: "503"'),
    ("", "", _without(*_GRPC, "timeout"), "envoyExtAuthzGrpc.timeout: 2s"),
    ("", "", _with(True, *_GRPC, "failOpen"), "failOpen: false"),
    ("", "", _with(True, *_GRPC, "clearRouteCache"), "clearRouteCache: false"),
    ("", "", _with({"maxRequestBytes": 1}, *_GRPC, "includeRequestBodyInCheck"), "BodyInCheck"),
    (
        "",
        "",
        _with(
            {"name": "authz", "envoyExtAuthzHttp": {"includeRequestHeadersInCheck": ["x"]}},
            *_MESH,
            0,
        ),
        "remove includeRequestHeadersInCheck",
    ),
    ("", "", _without(*_MESH, 1), "envoyOtelAls"),
    ("", "", _without("meshConfig", "defaultConfig"), "envoyDebugHeaders.disabled: true"),
    ("Telemetry", "authz-log", None, "envoyOtelAls"),
    ("VirtualService", "llm.example.com", None, "a VirtualService for llm.example.com"),
    ("VirtualService", "llm.example.com", _without(*_HTTP, "headers"), "response.remove"),
    ("VirtualService", "llm.example.com", _with("15s", *_HTTP, "timeout"), "timeout"),
    ("VirtualService", "llm.example.com", _with([{}], *_HTTP, "mirrors"), "mirror"),
    (
        "Gateway",
        "ai-gateway",
        _with(["llm.example.com"], "spec", "servers", 0, "hosts"),
        "hosts: NAMESPACE/llm.example.com",
    ),
    (
        "Gateway",
        "ai-gateway",
        _with(["*/*.example.com"], "spec", "servers", 0, "hosts"),
        "hosts: NAMESPACE/*.example.com",
    ),
    ("DestinationRule", "authz", None, "a DestinationRule for the service"),
    (
        "DestinationRule",
        "authz",
        _with("SIMPLE", "spec", "trafficPolicy", "tls", "mode"),
        "tls.mode: MUTUAL",
    ),
    ("DestinationRule", "provider-openai", None, "a DestinationRule for api.openai.com"),
]


def test_printed_manifests(manifests: list[Manifest], config: Config) -> None:
    """The printed manifests lack nothing."""
    assert check(manifests, config) == []


@pytest.mark.parametrize(
    ("kind", "name", "change", "named"),
    [
        pytest.param(*case, id=f"{number}-{case[0] or 'mesh'}-{case[3]}")
        for number, case in enumerate(CASES)
    ],
)
def test_one_setting_missing(
    kind: str,
    name: str,
    change: Change | None,
    named: str,
    manifests: list[Manifest],
    config: Config,
) -> None:
    """One changed setting is one kind of finding, which names the setting and what it costs."""
    changed = [one for one in manifests if (one.kind, one.name) == (kind, name)]
    assert changed
    if change is None:
        manifests = [one for one in manifests if one not in changed]
    else:
        for one in changed:
            change(one.fields)
    found = check(manifests, config)
    assert found
    assert any(named in one.setting for one in found), found
    assert all(one.cost for one in found)
    assert len({one.setting for one in found}) <= 2


def test_a_policy_on_the_gateway_is_replaced(manifests: list[Manifest], config: Config) -> None:
    """A policy on the Gateway covers a route, unless the route has its own without a check."""
    policies = [one for one in manifests if one.kind == "SecurityPolicy"]
    for one in policies:
        one.fields["spec"]["targetRefs"] = [{"kind": "Gateway", "name": "public"}]
    assert check(manifests, config) == []
    own = {"targetRefs": [{"kind": "HTTPRoute", "name": "openai"}], "cors": {}}
    manifests.append(Manifest("SecurityPolicy", "ai", "own", "own.yaml", {"spec": own}))
    (found,) = check(manifests, config)
    assert (found.place, "unchecked" in found.cost) == ("eg.yaml: HTTPRoute ai/openai", True)


def test_other_manifests_are_ignored(manifests: list[Manifest], config: Config) -> None:
    """Policies, routes and gateways that lead to no provider are ignored."""
    others = [
        ("SecurityPolicy", {"targetRefs": [{"kind": "HTTPRoute", "name": "shop"}], "extAuth": {}}),
        ("HTTPRoute", {"rules": [{}]}),
        ("VirtualService", {"hosts": ["shop.example.com"], "http": [{"timeout": "3s"}]}),
        ("Gateway", {"servers": [{"hosts": ["shop.example.com"]}]}),
        ("Deployment", {"replicas": 3}),
    ]
    manifests += [
        Manifest(kind, "ai", "shop", "shop.yaml", {"spec": spec}) for kind, spec in others
    ]
    assert check(manifests, config) == []


@pytest.mark.parametrize("kind", ["IstioOperator", "ConfigMap", "plain"])
def test_places_of_the_mesh_configuration(
    kind: str, manifests: list[Manifest], config: Config
) -> None:
    """The mesh configuration is found in an IstioOperator, in Istio's ConfigMap, and by itself."""
    (values,) = (one for one in manifests if not one.kind)
    mesh = values.fields["meshConfig"]
    fields = {
        "IstioOperator": {"kind": kind, "spec": {"meshConfig": mesh}},
        "ConfigMap": {"kind": kind, "data": {"mesh": yaml.safe_dump(mesh)}},
        "plain": mesh,
    }[kind]
    manifests.remove(values)
    shown = "" if kind == "plain" else kind
    manifests.append(Manifest(shown, "istio-system", "istio", "mesh.yaml", fields))
    assert check(manifests, config) == []


def test_without_tls_and_usage(manifests: list[Manifest]) -> None:
    """If authz has no TLS and records nothing, the check asks for neither TLS nor a log."""
    plain = external_config(usage={"enabled": False})
    kept = [one for one in manifests if one.kind not in ("EnvoyProxy", "Telemetry")]
    for one in kept:
        if (one.kind, one.name) == ("Backend", "authz"):
            del one.fields["spec"]["tls"]
    assert check(kept, plain) == []
