"""Prints the manifests and the mesh configuration for Istio."""

from collections.abc import Sequence

from authz.addresses import TcpAddress
from authz.config.settings import Config
from authz.errors import ConfigError
from authz.manifests.destinations import (
    CHECK_SECONDS,
    CLIENT_NAME,
    REMOVED_FROM_ANSWERS,
    Mounted,
    authz_addresses,
    mounted_routes,
)
from authz.manifests.documents import Fields, write
from authz.manifests.log_format import LOG_FIELDS

NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"
TELEMETRY = "telemetry.istio.io/v1"
_PROVIDER = "authz"
_LOG_PROVIDER = "authz-log"
_GATEWAY = "ai-gateway"
_STATIC_HOST = "authz.ai-gateway.internal"
"""The host of authz in the mesh where its addresses have no name."""


def print_istio(
    config: Config, namespace: str, selector: str, addresses: Sequence[TcpAddress] = ()
) -> str:
    """Return the manifests, as YAML.

    Args:
        config: with ``external_gateways``.
        namespace: of the gateway.
        selector: ``KEY=VALUE``, a label of the gateway's Pods.
        addresses: of authz; empty takes those of the configuration.

    Raises:
        ConfigError: there is no route to print, or no address that gateways reach.
    """
    mounted = mounted_routes(config, by_host=True)
    checks = authz_addresses(config, addresses)
    key, _, value = selector.partition("=")
    labels = {key: value}
    objects: list[tuple[str, Fields]] = [
        (_gateway_comment(namespace), _gateway(mounted, namespace, labels))
    ]
    objects += _authz(config, namespace, checks)
    # Two providers on one host share its objects.
    providers = {(_provider_host(one), one.provider.base_url.port): one for one in mounted}
    for one in providers.values():
        objects += [("", document) for document in _provider(one, namespace)]
    for host in dict.fromkeys(one.route.host for one in mounted if one.route.host):
        objects.append(("", _virtual_service(host, mounted, namespace)))
    policy = {
        "selector": {"matchLabels": labels},
        "action": "CUSTOM",
        "provider": {"name": _PROVIDER},
        "rules": [{}],
    }
    comment = "Every request is checked. A rule with paths would let all others pass unchecked."
    objects.append((comment, _object(SECURITY, "AuthorizationPolicy", namespace, "authz", policy)))
    if config.usage.enabled:
        log = {
            "selector": {"matchLabels": labels},
            "accessLogging": [{"providers": [{"name": _LOG_PROVIDER}]}],
        }
        objects.append(("", _object(TELEMETRY, "Telemetry", namespace, "authz-log", log)))
    return write(objects)


def print_mesh(config: Config, addresses: Sequence[TcpAddress] = ()) -> str:
    """Return the part of the mesh configuration, as Helm's values of istiod.

    Raises:
        ConfigError: authz has no address that gateways reach.
    """
    checks = authz_addresses(config, addresses)
    place = {"service": _host(checks), "port": checks[0].port}
    check = place | {"timeout": f"{CHECK_SECONDS}s", "failOpen": False, "statusOnError": "503"}
    providers: list[Fields] = [{"name": _PROVIDER, "envoyExtAuthzGrpc": check}]
    if config.usage.enabled:
        log = place | {"logName": "authz", "logFormat": {"labels": dict(LOG_FIELDS)}}
        providers.append({"name": _LOG_PROVIDER, "envoyOtelAls": log})
    hidden = {"envoyDebugHeaders": {"disabled": True}, "attemptCount": {"disabled": True}}
    mesh = {"extensionProviders": providers, "defaultConfig": {"proxyHeaders": hidden}}
    comment = (
        "Values for Helm's chart istiod:\n"
        "  helm upgrade istiod istio/istiod -n istio-system --reuse-values -f FILE"
    )
    return write([(comment, {"meshConfig": mesh})])


def _object(api: str, kind: str, namespace: str, name: str, spec: Fields) -> Fields:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def _hosts(mounted: Sequence[Mounted]) -> list[str]:
    return list(dict.fromkeys(one.route.host for one in mounted if one.route.host))


def _gateway_comment(namespace: str) -> str:
    return (
        f"Only namespace {namespace} may add routes for these hosts: anyone who adds one can get "
        "the central key.\n"
        f"Their certificate: kubectl -n {namespace} create secret tls {_GATEWAY} --cert=… --key=…"
    )


def _gateway(mounted: Sequence[Mounted], namespace: str, labels: dict[str, str]) -> Fields:
    server = {
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
        "tls": {"mode": "SIMPLE", "credentialName": _GATEWAY},
        "hosts": [f"{namespace}/{host}" for host in _hosts(mounted)],
    }
    spec = {"selector": labels, "servers": [server]}
    return _object(NETWORKING, "Gateway", namespace, _GATEWAY, spec)


def _host(addresses: Sequence[TcpAddress]) -> str:
    names = [address.host for address in addresses if address.is_name]
    if not names:
        if len({address.port for address in addresses}) > 1:
            raise ConfigError(["--authz: addresses without names must have the same port in Istio"])
        return _STATIC_HOST
    if len(addresses) > 1:
        raise ConfigError(["--authz: Istio takes one name, which may stand for several addresses"])
    return names[0]


def _authz(
    config: Config, namespace: str, addresses: Sequence[TcpAddress]
) -> list[tuple[str, Fields]]:
    host = _host(addresses)
    found: list[tuple[str, Fields]] = []
    # A Service is known to the mesh already.
    if not host.endswith((".svc", ".svc.cluster.local")):
        named = {} if host != _STATIC_HOST else {"endpoints": [_address(one) for one in addresses]}
        port = {"number": addresses[0].port, "name": "grpc-authz", "protocol": "GRPC"}
        spec = _entry(host, port) | named
        if named:
            spec["resolution"] = "STATIC"
        found.append(("", _object(NETWORKING, "ServiceEntry", namespace, "authz", spec)))
    if config.authz.tls is None:
        return found
    comment = (
        "The certificate that the gateway shows to authz:\n"
        f"  kubectl -n {namespace} create secret generic {CLIENT_NAME} --from-file=tls.crt=… "
        "--from-file=tls.key=… --from-file=ca.crt=…"
    )
    sni = addresses[0].host
    tls = {"mode": "MUTUAL", "credentialName": CLIENT_NAME, "sni": sni, "subjectAltNames": [sni]}
    rule = _object(NETWORKING, "DestinationRule", namespace, "authz", _rule(host, tls))
    return [*found, (comment, rule)]


def _address(address: TcpAddress) -> Fields:
    return {"address": "127.0.0.1" if address.host == "localhost" else address.host}


def _entry(host: str, port: Fields) -> Fields:
    return {"hosts": [host], "location": "MESH_EXTERNAL", "resolution": "DNS", "ports": [port]}


def _rule(host: str, tls: Fields) -> Fields:
    return {"host": host, "trafficPolicy": {"tls": tls}}


def _provider_host(one: Mounted) -> str:
    url = one.provider.base_url
    return f"{one.provider.name}.ai-gateway.internal" if url.is_ip else url.host


def _provider(one: Mounted, namespace: str) -> list[Fields]:
    url, host = one.provider.base_url, _provider_host(one)
    name = f"provider-{one.provider.name}"
    # Istio opens TLS itself, so for it the port has HTTP.
    port = {"number": url.port, "name": f"http-{one.provider.name}", "protocol": "HTTP"}
    spec = _entry(host, port)
    if url.is_ip:
        spec |= {"resolution": "STATIC", "endpoints": [{"address": url.host}]}
    entry = _object(NETWORKING, "ServiceEntry", namespace, name, spec)
    if not url.tls:
        return [entry]
    tls: Fields = {"mode": "SIMPLE", "sni": url.host, "subjectAltNames": [url.host]}
    if one.provider.ca_file is not None:
        tls["credentialName"] = f"{name}-ca"
    return [entry, _object(NETWORKING, "DestinationRule", namespace, name, _rule(host, tls))]


def _virtual_service(host: str, mounted: Sequence[Mounted], namespace: str) -> Fields:
    spec = {
        "hosts": [host],
        "gateways": [f"{namespace}/{_GATEWAY}"],
        "http": [_http_route(one) for one in mounted if one.route.host == host],
    }
    return _object(NETWORKING, "VirtualService", namespace, host, spec)


def _http_route(one: Mounted) -> Fields:
    url = one.provider.base_url
    destination = {"host": _provider_host(one), "port": {"number": url.port}}
    return {
        "name": one.provider.name,
        "match": [{"uri": {"prefix": f"{one.client.rstrip('/')}/"}}],
        "rewrite": {"uri": f"{one.upstream.rstrip('/')}/", "authority": url.authority},
        "route": [{"destination": destination}],
        "headers": {"response": {"remove": REMOVED_FROM_ANSWERS}},
    }
