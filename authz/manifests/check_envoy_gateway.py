"""Finds what manifests for Envoy Gateway lack."""

from collections.abc import Iterator, Sequence

from authz.config.settings import Config
from authz.manifests import findings
from authz.manifests.destinations import REMOVED_FROM_ANSWERS
from authz.manifests.documents import Fields, Manifest, at, mapping, mappings, texts
from authz.manifests.durations import is_short, seconds_of
from authz.manifests.findings import Finding, finding
from authz.manifests.log_format import has_entry


class EnvoyGatewayCheck:
    """The manifests for Envoy Gateway of some files.

    Args:
        manifests: of any kind.
        config: says which HTTPRoutes lead to providers.
    """

    def __init__(self, manifests: Sequence[Manifest], config: Config) -> None:
        self._manifests = manifests
        self._config = config
        external = config.external_gateways
        self._routes = external.routes if external is not None else ()
        self._paths: dict[str, list[str]] = {}
        for route in self._routes:
            if route.httproute is not None:
                self._paths.setdefault(route.httproute, []).append(route.path)

    def find(self) -> Iterator[Finding]:
        """Yield what is missing."""
        for policy in self._of("SecurityPolicy"):
            if self._asks_authz(policy):
                yield from self._policy(policy)
        routes = {f"{one.namespace}/{one.name}": one for one in self._of("HTTPRoute")}
        for name in self._paths:
            if name not in routes:
                cost = "nothing is known about this route of external_gateways.routes"
                yield Finding("", f"HTTPRoute {name} is in no file", cost)
                continue
            yield from self._route(routes[name])
        if self._paths and self._config.usage.enabled and not self._has_log():
            setting = (
                "no EnvoyProxy has a spec.telemetry.accessLog with an OpenTelemetry sink to authz "
                "and the fields that authz manifests envoy-gateway prints"
            )
            yield Finding("", setting, findings.NO_LOG)

    def _of(self, kind: str) -> list[Manifest]:
        return [one for one in self._manifests if one.kind == kind]

    def _find(self, kind: str, namespace: str, name: object) -> Manifest | None:
        for one in self._of(kind):
            if (one.namespace, one.name) == (namespace, name):
                return one
        return None

    def _targets(self, policy: Manifest, route: Manifest) -> list[Fields]:
        """Return the references of a policy to a route."""
        return [
            target
            for target in _target_refs(policy)
            if target.get("kind") == "HTTPRoute"
            and target.get("name") == route.name
            and policy.namespace == route.namespace
        ]

    def _policies(self, route: Manifest) -> list[tuple[Manifest, Fields]]:
        return [
            (policy, target)
            for policy in self._of("SecurityPolicy")
            for target in self._targets(policy, route)
        ]

    def _asks_authz(self, policy: Manifest) -> bool:
        """Return whether authz is asked, as far as the routes of gateway.yaml tell."""
        if "extAuth" not in policy.spec:
            return False
        routes = [one for one in self._of("HTTPRoute") if self._is_ours(one)]
        return self._may_be_wide(policy) or any(self._targets(policy, route) for route in routes)

    def _is_ours(self, route: Manifest) -> bool:
        return f"{route.namespace}/{route.name}" in self._paths

    def _policy(self, policy: Manifest) -> Iterator[Finding]:
        check = mapping(policy.spec.get("extAuth"))
        grpc = mapping(check.get("grpc"))
        if not grpc:
            yield finding(policy, "spec.extAuth.grpc", "authz speaks gRPC only")
        if check.get("failOpen", False) is not False:
            yield finding(policy, "spec.extAuth.failOpen: false", findings.FAIL_OPEN)
        if check.get("statusOnError") != 503:
            yield finding(policy, "spec.extAuth.statusOnError: 503", findings.STATUS)
        if not is_short(check.get("timeout")):
            cost = "requests wait up to 10 seconds for an authz that does not answer"
            yield finding(policy, "spec.extAuth.timeout: 2s", cost)
        if check.get("headersToExtAuth"):
            yield finding(policy, "remove spec.extAuth.headersToExtAuth", findings.HIDDEN_HEADERS)
        if check.get("bodyToExtAuth"):
            yield finding(policy, "remove spec.extAuth.bodyToExtAuth", findings.BODY)
        if check.get("recomputeRoute", False) is not False:
            yield finding(policy, "spec.extAuth.recomputeRoute: false", findings.OTHER_ROUTE)
        if check.get("includeRouteMetadata") is not True:
            cost = (
                "authz does not learn which HTTPRoute a request takes, and answers it with 503; "
                "with contextExtensions in its place, another HTTPRoute can get the central key"
            )
            yield finding(policy, "spec.extAuth.includeRouteMetadata: true", cost)
        references = [*mappings(grpc.get("backendRefs")), mapping(grpc.get("backendRef"))]
        for reference in references:
            if reference:
                yield from self._authz_backend(policy, reference)

    def _authz_backend(self, policy: Manifest, reference: Fields) -> Iterator[Finding]:
        if self._config.authz.tls is None:
            return
        namespace = reference.get("namespace", policy.namespace)
        if reference.get("kind") != "Backend":
            name = reference.get("name")
            if not self._has_tls_policy(namespace, reference.get("kind", "Service"), name):
                yield finding(policy, f"a BackendTLSPolicy for {name}", findings.IN_CLEAR)
            return
        backend = self._find("Backend", namespace, reference.get("name"))
        if backend is None:
            return
        tls = mapping(backend.spec.get("tls"))
        if not tls:
            yield finding(backend, "spec.tls", findings.IN_CLEAR)
            return
        if not tls.get("clientCertificateRef"):
            cost = "authz refuses the connection, so each request gets 503"
            yield finding(backend, "spec.tls.clientCertificateRef", cost)
        if tls.get("insecureSkipVerify") or not (
            tls.get("caCertificateRefs") or self._has_tls_policy(namespace, "Backend", backend.name)
        ):
            cost = "another server can pass itself off as authz, and let every request pass"
            yield finding(backend, "spec.tls.caCertificateRefs", cost)

    def _has_tls_policy(self, namespace: object, kind: object, name: object) -> bool:
        return any(
            target.get("kind") == kind and target.get("name") == name
            for policy in self._of("BackendTLSPolicy")
            if policy.namespace == namespace
            for target in mappings(policy.spec.get("targetRefs"))
        )

    def _route(self, route: Manifest) -> Iterator[Finding]:
        rules = mappings(route.spec.get("rules"))
        for index, rule in enumerate(rules):
            where = f"spec.rules[{index}]"
            if not self._is_covered(route, rule):
                setting = f"a SecurityPolicy with extAuth for {where}"
                yield finding(route, setting, findings.UNASKED)
            if seconds_of(at(rule, "timeouts", "request")) != 0:
                cost = "answers that stream for longer than 15 seconds are cut"
                yield finding(route, f"{where}.timeouts.request: 0s", cost)
            if not set(REMOVED_FROM_ANSWERS) <= _removed(rule):
                removed = ", ".join(REMOVED_FROM_ANSWERS)
                setting = f"{where}.filters: a ResponseHeaderModifier that removes {removed}"
                yield finding(route, setting, findings.COOKIES)
            if any(one.get("type") == "RequestMirror" for one in mappings(rule.get("filters"))):
                setting = f"{where}.filters: remove the RequestMirror"
                yield finding(route, setting, findings.MIRROR)
            yield from self._provider(route, rule)
        yield from self._prefixes(route, rules)

    def _is_covered(self, route: Manifest, rule: Fields) -> bool:
        """Return whether the policy that counts for a rule asks authz.

        The policy for a rule replaces that for its route, and that one the Gateway's.
        """
        policies = self._policies(route)
        for chosen in (
            [one for one, target in policies if target.get("sectionName", "") == rule.get("name")],
            [one for one, target in policies if "sectionName" not in target],
        ):
            if chosen:
                return all("extAuth" in policy.spec for policy in chosen)
        return any(
            "extAuth" in policy.spec and self._may_be_wide(policy)
            for policy in self._of("SecurityPolicy")
        )

    def _may_be_wide(self, policy: Manifest) -> bool:
        is_wide = any(one.get("kind") == "Gateway" for one in _target_refs(policy))
        return is_wide or "targetSelectors" in policy.spec

    def _provider(self, route: Manifest, rule: Fields) -> Iterator[Finding]:
        """Yield a finding for a backend without TLS, if every provider of the route has TLS."""
        name = f"{route.namespace}/{route.name}"
        used = {one.provider for one in self._routes if one.httproute == name}
        providers = [one for one in self._config.providers if one.name in used]
        if not all(provider.base_url.tls for provider in providers):
            return
        for reference in mappings(rule.get("backendRefs")):
            if reference.get("kind") != "Backend":
                continue
            namespace = reference.get("namespace", route.namespace)
            backend = self._find("Backend", namespace, reference.get("name"))
            if backend is None or backend.spec.get("tls"):
                continue
            if not self._has_tls_policy(namespace, "Backend", backend.name):
                setting = f"a BackendTLSPolicy for {backend.name}"
                yield finding(backend, setting, findings.PROVIDER_IN_CLEAR)

    def _prefixes(self, route: Manifest, rules: Sequence[Fields]) -> Iterator[Finding]:
        values = [
            at(match, "path", "value") for rule in rules for match in mappings(rule.get("matches"))
        ]
        for path in self._paths[f"{route.namespace}/{route.name}"]:
            prefix = path.rstrip("/")
            if not any(
                isinstance(value, str) and f"{value.rstrip('/')}/".startswith(f"{prefix}/")
                for value in values
            ):
                setting = f"spec.rules[].matches[].path below {path}"
                cost = "authz answers paths that are not below it with 404"
                yield finding(route, setting, cost)

    def _has_log(self) -> bool:
        return any(
            has_entry(at(setting, "format", "json"))
            and any(sink.get("type") == "OpenTelemetry" for sink in mappings(setting.get("sinks")))
            for proxy in self._of("EnvoyProxy")
            for setting in mappings(at(proxy.spec, "telemetry", "accessLog", "settings"))
        )


def _target_refs(policy: Manifest) -> list[Fields]:
    return [*mappings(policy.spec.get("targetRefs")), mapping(policy.spec.get("targetRef"))]


def _removed(rule: Fields) -> set[str]:
    return {
        name.lower()
        for one in mappings(rule.get("filters"))
        for name in texts(at(one, "responseHeaderModifier", "remove"))
    }
