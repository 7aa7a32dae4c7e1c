"""Prints the manifests for Envoy Gateway."""

from collections.abc import Sequence
from typing import Any

from authz.addresses import TcpAddress
from authz.config.settings import Config
from authz.manifests.destinations import (
    CA_NAME,
    CHECK_SECONDS,
    CLIENT_NAME,
    REMOVED_FROM_ANSWERS,
    Mounted,
    authz_addresses,
    mounted_routes,
)
from authz.manifests.documents import Fields, write
from authz.manifests.log_format import LOG_FIELDS

GATEWAY_API = "gateway.networking.k8s.io"
ENVOY_GATEWAY = "gateway.envoyproxy.io"
_POLICY = f"{ENVOY_GATEWAY}/v1alpha1"
_CHECK_RETRIES = 3


def print_envoy_gateway(config: Config, gateway: str, addresses: Sequence[TcpAddress] = ()) -> str:
    """Return the manifests, as YAML.

    Args:
        config: with ``external_gateways``.
        gateway: ``NAMESPACE/NAME`` of the Gateway that the routes are attached to.
        addresses: of authz; empty takes those of the configuration.

    Raises:
        ConfigError: there is no route to print, or no address that gateways reach.
    """
    mounted = mounted_routes(config, by_host=False)
    checks = authz_addresses(config, addresses)
    namespace = gateway.partition("/")[0]
    askers = {_split(one)[0] for one in mounted}
    if config.usage.enabled:
        askers.add(namespace)
    documents: list[tuple[str, Fields]] = [
        (_authz_comment(config, asker), _authz_backend(config, asker, checks))
        for asker in sorted(askers)
    ]
    backends = {}
    for one in mounted:
        for document in _provider_backend(one):
            kind, metadata = document["kind"], document["metadata"]
            backends[kind, metadata["namespace"], metadata["name"]] = document
    documents += [("", document) for document in backends.values()]
    for group in _by_httproute(mounted):
        documents.append(("", _httproute(group, gateway)))
        documents.append(("", _security_policy(config, group[0])))
    if config.usage.enabled:
        documents.append((_log_comment(gateway), _envoy_proxy(gateway)))
    return write(documents)


def _split(one: Mounted) -> tuple[str, str]:
    namespace, _, name = (one.route.httproute or "").partition("/")
    return namespace, name


def _by_httproute(mounted: Sequence[Mounted]) -> list[list[Mounted]]:
    """Put the routes of each HTTPRoute together."""
    found: dict[tuple[str, str], list[Mounted]] = {}
    for one in mounted:
        found.setdefault(_split(one), []).append(one)
    return list(found.values())


def _object(api: str, kind: str, namespace: str, name: str, spec: Fields) -> Fields:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _endpoint(address: TcpAddress) -> Fields:
    host = "127.0.0.1" if address.host == "localhost" else address.host
    if TcpAddress(host, address.port).is_name:
        return {"fqdn": {"hostname": host, "port": address.port}}
    return {"ip": {"address": host, "port": address.port}}


def _authz_comment(config: Config, namespace: str) -> str:
    if config.authz.tls is None:
        return "authz, without TLS: gateway.yaml has no authz.tls."
    return (
        "authz. The gateway shows the certificate of a Secret, and trusts the CA of a ConfigMap:\n"
        f"  kubectl -n {namespace} create configmap {CA_NAME} --from-file=ca.crt=CA_FILE\n"
        f"  kubectl -n {namespace} create secret tls {CLIENT_NAME} --cert=CERT_FILE --key=KEY_FILE"
    )


def _authz_backend(config: Config, namespace: str, addresses: Sequence[TcpAddress]) -> Fields:
    spec: Fields = {"endpoints": [_endpoint(address) for address in addresses]}
    if config.authz.tls is None:
        spec["appProtocols"] = [f"{ENVOY_GATEWAY}/h2c"]
    else:
        spec["tls"] = {
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": CA_NAME}],
            "clientCertificateRef": {"group": "", "kind": "Secret", "name": CLIENT_NAME},
            "sni": addresses[0].host,
            "alpnProtocols": ["h2"],
        }
    return _object(_POLICY, "Backend", namespace, "authz", spec)


def _backend_name(one: Mounted) -> str:
    return f"provider-{one.provider.name}"


def _provider_backend(one: Mounted) -> list[Fields]:
    namespace, name = _split(one)[0], _backend_name(one)
    url = one.provider.base_url
    endpoint = _endpoint(TcpAddress(url.host, url.port))
    backend = _object(_POLICY, "Backend", namespace, name, {"endpoints": [endpoint]})
    if not url.tls:
        return [backend]
    trust: Fields = {"hostname": url.host}
    if one.provider.ca_file is None:
        trust["wellKnownCACertificates"] = "System"
    else:
        ref = {"group": "", "kind": "ConfigMap", "name": f"{name}-ca"}
        trust["caCertificateRefs"] = [ref]
    target = {"group": ENVOY_GATEWAY, "kind": "Backend", "name": name}
    spec = {"targetRefs": [target], "validation": trust}
    return [backend, _object(f"{GATEWAY_API}/v1", "BackendTLSPolicy", namespace, name, spec)]


def _httproute(mounted: Sequence[Mounted], gateway: str) -> Fields:
    namespace, name = _split(mounted[0])
    gateway_namespace, _, gateway_name = gateway.partition("/")
    spec = {
        "parentRefs": [{"name": gateway_name, "namespace": gateway_namespace}],
        "rules": [_rule(one) for one in mounted],
    }
    return _object(f"{GATEWAY_API}/v1", "HTTPRoute", namespace, name, spec)


def _rule(one: Mounted) -> Fields:
    path: dict[str, Any] = {"type": "ReplacePrefixMatch", "replacePrefixMatch": one.upstream}
    rewrite: Fields = {"path": path}
    # Gateway API takes neither a port nor an address here.
    if not one.provider.base_url.is_ip:
        rewrite = {"hostname": one.provider.base_url.host, **rewrite}
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": one.client}}],
        "filters": [
            {"type": "URLRewrite", "urlRewrite": rewrite},
            {
                "type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"remove": REMOVED_FROM_ANSWERS},
            },
        ],
        "backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": _backend_name(one)}],
        # An answer may stream for an hour.
        "timeouts": {"request": "0s"},
    }


def _security_policy(config: Config, one: Mounted) -> Fields:
    namespace, name = _split(one)
    backend = {"group": ENVOY_GATEWAY, "kind": "Backend", "name": "authz"}
    retried = ["connect-failure", "refused-stream", "unavailable", "reset"]
    most = config.envoy.max_checks
    spec = {
        "targetRefs": [{"group": GATEWAY_API, "kind": "HTTPRoute", "name": name}],
        "extAuth": {
            "failOpen": False,
            "statusOnError": 503,
            "timeout": f"{CHECK_SECONDS}s",
            "includeRouteMetadata": True,
            "grpc": {
                "backendRefs": [backend],
                "backendSettings": {
                    "retry": {"numRetries": _CHECK_RETRIES, "retryOn": {"triggers": retried}},
                    "circuitBreaker": {"maxParallelRequests": most, "maxPendingRequests": most},
                },
            },
        },
    }
    return _object(_POLICY, "SecurityPolicy", namespace, name, spec)


def _log_comment(gateway: str) -> str:
    name = gateway.partition("/")[2]
    return (
        "The access log, from which authz learns how each request ended. The Gateway names it:\n"
        "  spec: {infrastructure: {parametersRef: "
        f"{{group: {ENVOY_GATEWAY}, kind: EnvoyProxy, name: {name}-authz}}}}}}\n"
        "If the Gateway has an EnvoyProxy already, add the part below telemetry to it."
    )


def _envoy_proxy(gateway: str) -> Fields:
    namespace, _, name = gateway.partition("/")
    backend = {"group": ENVOY_GATEWAY, "kind": "Backend", "name": "authz"}
    log = {
        "format": {"type": "JSON", "json": dict(LOG_FIELDS)},
        "sinks": [{"type": "OpenTelemetry", "openTelemetry": {"backendRefs": [backend]}}],
    }
    spec = {"telemetry": {"accessLog": {"settings": [log]}}}
    return _object(_POLICY, "EnvoyProxy", namespace, f"{name}-authz", spec)
