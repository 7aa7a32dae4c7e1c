"""deploy/kubernetes: valid, and no Pod has more than it needs."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.deployment import BASE, DEPLOY, manifest, manifests

VERSION = "1.37"
KUSTOMIZATIONS = (
    BASE,
    *(DEPLOY / name for name in ("kubernetes/cert-manager", "envoy")),
    *(DEPLOY / name for name in ("prometheus/rules", "grafana/dashboards")),
)
DEPLOYMENTS = ["authz", "envoy"]


def _pod(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = manifest("Deployment", name)["spec"]["template"]["spec"]
    return pod


def _containers(name: str) -> list[dict[str, Any]]:
    return [*_pod(name)["initContainers"], *_pod(name)["containers"]]


@pytest.mark.parametrize(
    "document", manifests(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_kubernetes_knows_every_key(document: dict[str, Any]) -> None:
    """Kubernetes' own schema accepts each manifest, with unknown keys as errors."""
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_file_is_listed() -> None:
    """Every manifest is listed in a kustomization, since it would be forgotten otherwise."""
    for folder in KUSTOMIZATIONS:
        text = (folder / "kustomization.yaml").read_text()
        for path in folder.iterdir():
            assert path.name == "kustomization.yaml" or path.name in text


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_are_restricted(name: str) -> None:
    """Pods meet the Pod Security Standard `restricted`, and can't write to a root file system."""
    security = _pod(name)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert _pod(name)["automountServiceAccountToken"] is False
    assert manifest("ServiceAccount", name)["automountServiceAccountToken"] is False
    for container in _containers(name):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_availability(name: str) -> None:
    """A rollout or a drained node takes one Pod at a time, and only once another serves."""
    deployment = manifest("Deployment", name)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budget = manifest("PodDisruptionBudget", name)["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert (
        budget["selector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"] == labels
    )
    assert budget["maxUnavailable"] == 1
    for constraint in _pod(name)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels
    (container,) = _pod(name)["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def test_envoy_is_given_the_time_to_drain() -> None:
    """The Pod is not killed before its streams have ended, within the gateway's bound."""
    settings = yaml.safe_load((BASE / "gateway.yaml").read_text())["envoy"]
    (container,) = _pod("envoy")["containers"]
    environ = {one["name"]: int(one["value"]) for one in container["env"]}
    assert environ["DRAIN_SECONDS"] == settings["drain_timeout"] >= settings["websocket_timeout"]
    assert _pod("envoy")["terminationGracePeriodSeconds"] > environ["DRAIN_SECONDS"]
    drain_time = container["command"][container["command"].index("--drain-time-s") + 1]
    assert int(drain_time) > environ["DRAIN_SECONDS"]


def test_each_pod_fits_its_limits() -> None:
    """Workers, threads and heap are fixed; following the node, they could exceed the memory."""
    settings = yaml.safe_load((BASE / "gateway.yaml").read_text())
    assert settings["authz"]["workers"] == 1
    (envoy,) = _pod("envoy")["containers"]
    threads = envoy["command"][envoy["command"].index("--concurrency") + 1]
    assert int(threads) == settings["envoy"]["concurrency"]
    assert envoy["resources"]["limits"]["memory"] == "1Gi"
    assert settings["envoy"]["max_heap_mib"] < 1024


def test_who_reaches_whom() -> None:
    """Only Envoy's Pods reach authz's gRPC, and traffic that no policy allows does not pass."""
    assert manifest("NetworkPolicy", "default-deny")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    from_where = [
        rule["from"]
        for rule in manifest("NetworkPolicy", "authz")["spec"]["ingress"]
        if 9001 in {port["port"] for port in rule["ports"]}
    ]
    envoy = manifest("Deployment", "envoy")["spec"]["selector"]
    assert from_where == [[{"podSelector": envoy}]]


def test_who_has_which_secret() -> None:
    """Envoy's Pod has its own certificate and no other secret."""

    def secrets(name: str) -> set[str]:
        return {
            volume["secret"]["secretName"] for volume in _pod(name)["volumes"] if "secret" in volume
        }

    assert secrets("envoy") == {"envoy-authz-tls"}
    assert secrets("authz") == {"authz-tls", "provider-keys", "database"}
    for name in DEPLOYMENTS:
        for container in _containers(name):
            assert all("valueFrom" not in one for one in container.get("env", []))


def test_autoscaling_decides_on_the_number_of_envoys() -> None:
    """Envoy's manifest has no `replicas`, which would undo autoscaling at every `kubectl apply`."""
    target = manifest("HorizontalPodAutoscaler", "envoy")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "envoy")
    assert "replicas" not in manifest("Deployment", "envoy")["spec"]


def test_cert_manager_makes_the_secrets_that_are_mounted() -> None:
    """The overlay's certificates have the names and uses that both sides need."""
    overlay = DEPLOY / "kubernetes" / "cert-manager"
    for certificate, secret in {"authz": "authz-tls", "envoy": "envoy-authz-tls"}.items():
        spec = manifest("Certificate", certificate, overlay)["spec"]
        assert spec["secretName"] == secret
        assert certificate in spec["dnsNames"]
        assert {"server auth", "client auth"} <= set(spec["usages"])
