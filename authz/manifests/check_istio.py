"""Finds what manifests for Istio lack."""

from collections.abc import Iterator, Sequence

from authz.config.settings import Config
from authz.manifests import findings
from authz.manifests.destinations import REMOVED_FROM_ANSWERS
from authz.manifests.documents import (
    Fields,
    Manifest,
    ManifestError,
    at,
    items,
    mapping,
    mappings,
    parse,
    texts,
)
from authz.manifests.durations import is_short, seconds_of
from authz.manifests.findings import Finding, finding
from authz.manifests.log_format import has_entry

_MESH = "meshConfig.extensionProviders"


class IstioCheck:
    """The manifests for Istio of some files.

    Args:
        manifests: of any kind; the mesh configuration can be Helm's values, an IstioOperator, or
            the ConfigMap ``istio``.
        config: says which hosts lead to providers.
    """

    def __init__(self, manifests: Sequence[Manifest], config: Config) -> None:
        self._manifests = manifests
        self._config = config
        external = config.external_gateways
        routes = external.routes if external is not None else ()
        self._hosts = list(dict.fromkeys(one.host for one in routes if one.host is not None))
        self._meshes = [(one, mesh) for one in manifests if (mesh := _mesh_of(one))]

    def find(self) -> Iterator[Finding]:
        """Yield what is missing."""
        if not self._hosts:
            return
        yield from self._policies()
        for host in self._hosts:
            services = [one for one in self._of("VirtualService") if _serves(one, host)]
            if not services:
                cost = "nothing is known about this host of external_gateways.routes"
                yield Finding("", f"a VirtualService for {host} is in no file", cost)
            for service in services:
                yield from self._virtual_service(service)
            yield from self._provider_tls(services)
        for gateway in self._of("Gateway"):
            yield from self._gateway(gateway)
        yield from self._debug_headers()
        if self._config.usage.enabled and not self._has_log():
            setting = (
                f"{_MESH}: an envoyOtelAls to authz with the labels that authz manifests istio "
                "--mesh prints, and a Telemetry that names it"
            )
            yield Finding("", setting, findings.NO_LOG)

    def _of(self, kind: str) -> list[Manifest]:
        return [one for one in self._manifests if one.kind == kind]

    def _policies(self) -> Iterator[Finding]:
        policies = [
            one for one in self._of("AuthorizationPolicy") if one.spec.get("action") == "CUSTOM"
        ]
        if not policies:
            setting = "an AuthorizationPolicy with action: CUSTOM"
            yield Finding("", f"{setting} is in no file", findings.UNASKED)
        for policy in policies:
            # Only an empty rule matches every request.
            if {} not in items(policy.spec.get("rules")):
                cost = f"where no rule matches, {findings.UNASKED}"
                yield finding(policy, "spec.rules: [{}]", cost)
            name = at(policy.spec, "provider", "name")
            found = [
                (manifest, provider)
                for manifest, mesh in self._meshes
                for provider in mappings(mesh.get("extensionProviders"))
                if provider.get("name") == name
            ]
            if not found:
                cost = "Istio refuses every request of the policy"
                yield finding(policy, f"{_MESH}: a provider of spec.provider.name", cost)
            for manifest, provider in found:
                yield from self._extension(manifest, provider)

    def _extension(self, manifest: Manifest, provider: Fields) -> Iterator[Finding]:
        check = mapping(provider.get("envoyExtAuthzGrpc"))
        where = f"{_MESH}[].envoyExtAuthzGrpc"
        if not check:
            http = mapping(provider.get("envoyExtAuthzHttp"))
            if http.get("includeRequestHeadersInCheck"):
                setting = "remove includeRequestHeadersInCheck"
                yield finding(manifest, setting, findings.HIDDEN_HEADERS)
            yield finding(manifest, where, "authz speaks gRPC only")
            return
        if check.get("failOpen", False) is not False:
            yield finding(manifest, f"{where}.failOpen: false", findings.FAIL_OPEN)
        if str(check.get("statusOnError")) != "503":
            yield finding(manifest, f'{where}.statusOnError: "503"', findings.STATUS)
        if not is_short(check.get("timeout")):
            cost = "requests wait up to 600 seconds for an authz that does not answer"
            yield finding(manifest, f"{where}.timeout: 2s", cost)
        if check.get("includeRequestBodyInCheck"):
            setting = f"remove {where}.includeRequestBodyInCheck"
            yield finding(manifest, setting, findings.BODY)
        if check.get("clearRouteCache", False) is not False:
            yield finding(manifest, f"{where}.clearRouteCache: false", findings.OTHER_ROUTE)
        if self._config.authz.tls is not None:
            yield from self._authz_tls(manifest, check.get("service"))

    def _authz_tls(self, manifest: Manifest, service: object) -> Iterator[Finding]:
        tls = [mapping(at(one.spec, "trafficPolicy", "tls")) for one in self._rules(service)]
        if not tls:
            yield finding(manifest, "a DestinationRule for the service", findings.IN_CLEAR)
        for one in tls:
            if one.get("mode") != "MUTUAL":
                cost = "authz refuses the connection, so each request gets 503"
                setting = "the service's DestinationRule: trafficPolicy.tls.mode: MUTUAL"
                yield finding(manifest, setting, cost)

    def _rules(self, host: object) -> list[Manifest]:
        return [one for one in self._of("DestinationRule") if one.spec.get("host") == host]

    def _virtual_service(self, service: Manifest) -> Iterator[Finding]:
        for index, route in enumerate(mappings(service.spec.get("http"))):
            where = f"spec.http[{index}]"
            if "timeout" in route and seconds_of(route["timeout"]) != 0:
                cost = "answers that stream for longer are cut"
                yield finding(service, f"remove {where}.timeout", cost)
            if "mirror" in route or "mirrors" in route:
                yield finding(service, f"remove {where}.mirror", findings.MIRROR)
            removed = {name.lower() for name in texts(at(route, "headers", "response", "remove"))}
            if not set(REMOVED_FROM_ANSWERS) <= removed:
                names = ", ".join(REMOVED_FROM_ANSWERS)
                setting = f"{where}.headers.response.remove: [{names}]"
                yield finding(service, setting, findings.COOKIES)

    def _provider_tls(self, services: Sequence[Manifest]) -> Iterator[Finding]:
        """Yield a finding for each provider that is reached without TLS."""
        secure = {one.base_url.host for one in self._config.providers if one.base_url.tls}
        for service in services:
            for route in mappings(service.spec.get("http")):
                for one in mappings(route.get("route")):
                    host = at(one, "destination", "host")
                    if host not in secure or any(
                        at(rule.spec, "trafficPolicy", "tls", "mode") in ("SIMPLE", "MUTUAL")
                        for rule in self._rules(host)
                    ):
                        continue
                    setting = f"a DestinationRule for {host} with trafficPolicy.tls.mode: SIMPLE"
                    yield finding(service, setting, findings.PROVIDER_IN_CLEAR)

    def _gateway(self, gateway: Manifest) -> Iterator[Finding]:
        for index, server in enumerate(mappings(gateway.spec.get("servers"))):
            for host in texts(server.get("hosts")):
                namespace, slash, name = host.rpartition("/")
                if not _covers(name, self._hosts) or (slash and namespace != "*"):
                    continue
                cost = "any namespace may add a route for this host, and get the central key"
                setting = f"spec.servers[{index}].hosts: NAMESPACE/{name}"
                yield finding(gateway, setting, cost)

    def _debug_headers(self) -> Iterator[Finding]:
        for _, mesh in self._meshes:
            if at(mesh, "defaultConfig", "proxyHeaders", "envoyDebugHeaders", "disabled") is True:
                return
        place = self._meshes[0][0].place if self._meshes else ""
        setting = "meshConfig.defaultConfig.proxyHeaders.envoyDebugHeaders.disabled: true"
        yield Finding(
            place, setting, "the provider gets Envoy's headers, such as the client's path"
        )

    def _has_log(self) -> bool:
        named = {
            provider.get("name")
            for telemetry in self._of("Telemetry")
            for log in mappings(telemetry.spec.get("accessLogging"))
            for provider in mappings(log.get("providers"))
        }
        return any(
            has_entry(at(provider, "envoyOtelAls", "logFormat", "labels"))
            and provider.get("name") in named
            for _, mesh in self._meshes
            for provider in mappings(mesh.get("extensionProviders"))
        )


def _mesh_of(manifest: Manifest) -> Fields:
    """Return the mesh configuration in a manifest; empty if it has none."""
    if manifest.kind == "IstioOperator":
        return mapping(manifest.spec.get("meshConfig"))
    if manifest.kind == "ConfigMap":
        text = at(manifest.fields, "data", "mesh")
        if not isinstance(text, str):
            return {}
        try:
            return next((one.fields for one in parse(text, manifest.file)), {})
        except ManifestError:
            return {}
    if manifest.kind:
        return {}
    return mapping(manifest.fields.get("meshConfig")) or (
        manifest.fields if "extensionProviders" in manifest.fields else {}
    )


def _serves(service: Manifest, host: str) -> bool:
    return any(_covers(one, [host]) for one in texts(service.spec.get("hosts")))


def _covers(name: str, hosts: Sequence[str]) -> bool:
    if name.startswith("*"):
        return any(host.endswith(name[1:]) for host in hosts)
    return name in hosts
