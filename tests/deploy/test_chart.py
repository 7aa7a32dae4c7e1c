"""deploy/helm: the same objects as the kustomize base, and clear errors. `make test-chart`."""

import copy
import json
import re
import runpy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import authz
from tests.support.chart import CHART, FOREIGN_GROUPS, VALUES, Helm, key, kustomized
from tests.support.deployment import BASE, DEPLOY

GATEWAY = (BASE / "gateway.yaml").read_text()
OLDEST, NEWEST = "1.27", "1.37"
OF_HELM = ("app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart")


def _find(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (one for one in documents if key(one) == name)
    return found


def _pod(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    pod: dict[str, Any] = _find(documents, f"Deployment/{name}")["spec"]["template"]
    return pod


def test_the_base_is_made_from_the_chart(helm: Helm) -> None:
    """The checked-in base is what `make manifests` would write."""
    render = runpy.run_path(str(DEPLOY / "kubernetes" / "render.py"))["render"]
    for path, text in render(helm.path).items():
        assert (DEPLOY / "kubernetes" / path).read_text() == text, "run `make manifests`"


def _comparable(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the objects by name, without the parts that only one of the two tools sets."""
    comparable: dict[str, Any] = {}
    for document in copy.deepcopy(documents):
        metadata = document["metadata"]
        metadata.pop("namespace", None)
        for label in OF_HELM:
            metadata.get("labels", {}).pop(label, None)
        if document["kind"] == "ConfigMap":
            # kustomize puts a hash of the content after the name.
            metadata["name"] = re.sub(r"-[a-z0-9]{10}$", "", metadata["name"])
            metadata.pop("labels", None)
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]
            for name in [one for one in template["metadata"]["annotations"] if "checksum/" in one]:
                del template["metadata"]["annotations"][name]
            for volume in template["spec"]["volumes"]:
                if "configMap" in volume:
                    name = re.sub(r"-[a-z0-9]{10}$", "", volume["configMap"]["name"])
                    volume["configMap"]["name"] = name
        comparable[key(document)] = document
    return comparable


@pytest.mark.parametrize("folder", ["base", "cert-manager"])
def test_kustomize_and_helm_make_the_same(helm: Helm, kustomize: list[str], folder: str) -> None:
    """The objects of `kubectl apply -k` and of `helm install` are equal."""
    values = "networkPolicy.namespaceDefaultDeny=true"
    issued = f"certManager.enabled={json.dumps(folder == 'cert-manager')}"
    charted = _comparable(helm.rendered("--set", f"{values},{issued}"))
    plain = _comparable(kustomized(kustomize, DEPLOY / "kubernetes" / folder))
    del plain["Namespace/ai-gateway"]  # helm has --create-namespace
    assert charted.keys() == plain.keys()
    for name, document in plain.items():
        assert charted[name] == document, name


@pytest.mark.parametrize("values", [None, *VALUES], ids=lambda path: path.stem if path else "none")
def test_kubernetes_knows_every_key(helm: Helm, values: Path | None) -> None:
    """The schemas of the oldest and of the newest version accept the objects and all their keys."""
    for document in helm.rendered("--values", values or CHART / "values.yaml"):
        if not document["apiVersion"].startswith(FOREIGN_GROUPS):
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(document, version, strict=True)


def test_lint(helm: Helm) -> None:
    """`helm lint --strict` has no findings."""
    done = helm.run("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_a_package_has_the_linked_files(helm: Helm, tmp_path: Path) -> None:
    """The archive of `helm package` produces the same objects as the folder."""
    done = helm.run("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.iterdir()
    values = ("--values", VALUES[-1])
    assert helm.rendered(*values, chart=archive) == helm.rendered(*values)


def test_gateway_yaml_is_verbatim(helm: Helm, tmp_path: Path) -> None:
    """The file in the Pods has exactly the text of the value, whatever it contains."""
    text = f"\n# {{{{ .Values }}}} $HOME 'ä'\t\n{GATEWAY}\n\n  # the end"
    (tmp_path / "gateway.yaml").write_text(text)
    rendered = helm.rendered("--set-file", f"gateway={tmp_path / 'gateway.yaml'}")
    assert _find(rendered, "ConfigMap/gateway")["data"]["gateway.yaml"] == text


def test_a_changed_gateway_yaml_rolls_both(helm: Helm, tmp_path: Path) -> None:
    """A changed gateway.yaml changes the checksum of both Deployments' Pods, and nothing else."""
    (tmp_path / "gateway.yaml").write_text(GATEWAY + "# another\n")
    before = helm.rendered()
    after = helm.rendered("--set-file", f"gateway={tmp_path / 'gateway.yaml'}")
    for name in ("authz", "envoy"):
        old, new = _pod(before, name), _pod(after, name)
        checksums = [one["metadata"]["annotations"].pop("checksum/gateway") for one in (old, new)]
        assert len(set(checksums)) == 2
        assert old == new


def test_ports_and_times_are_those_of_gateway_yaml(helm: Helm) -> None:
    """Services, containers, policies and the drain follow gateway.yaml."""
    rendered = helm.rendered("--values", VALUES[-1])
    service = _find(rendered, "Service/second-authz")["spec"]["ports"]
    assert [one["port"] for one in service] == [19001, 18081, 18082]
    pod = _pod(rendered, "second-envoy")["spec"]
    (envoy,) = pod["containers"]
    ports = {one["name"]: one["containerPort"] for one in envoy["ports"]}
    assert ports == {"http": 18080, "metrics": 19902}
    environ = {one["name"]: one["value"] for one in envoy["env"]}
    assert environ["ENVOY_ADMIN_PORT"] == "19901"
    assert environ["DRAIN_SECONDS"] == "5400"
    assert pod["terminationGracePeriodSeconds"] == 5460
    assert envoy["command"][envoy["command"].index("--concurrency") + 1] == "4"
    policy = _find(rendered, "NetworkPolicy/second-envoy")["spec"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {18080, 19902}
    assert {port["port"] for port in policy["egress"][0]["ports"]} == {19001, 18082}


def test_options_reach_both_pods(helm: Helm) -> None:
    """Options that a cluster's rules need are set on both Pods, such as labels and tolerations."""
    rendered = helm.rendered("--values", VALUES[-1], release="gateway")
    given = yaml.safe_load(VALUES[-1].read_text())["authz"]
    for name in ("second-authz", "second-envoy"):
        pod = _pod(rendered, name)
        assert pod["metadata"]["labels"].items() >= given["podLabels"].items()
        assert pod["metadata"]["labels"]["team"] == "platform"
        assert pod["metadata"]["annotations"].items() >= given["podAnnotations"].items()
        spec = pod["spec"]
        for option in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
            assert spec[option] == given[option]
        assert spec["priorityClassName"] == given["priorityClassName"]
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert given["extraVolumes"][0] in spec["volumes"]
        (container,) = spec["containers"]
        assert container["resources"] == given["resources"]
        assert given["extraVolumeMounts"][0] in container["volumeMounts"]
        assert given["extraEnv"][0] in container["env"]
        assert "@sha256:" in container["image"]
        selector = _find(rendered, f"Deployment/{name}")["spec"]["selector"]["matchLabels"]
        assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
        assert selector["app.kubernetes.io/instance"] == "gateway"
        assert _find(rendered, f"HorizontalPodAutoscaler/{name}")["spec"]["minReplicas"] == 3


def test_jobs_have_the_names_that_alerts_ask_for(helm: Helm) -> None:
    """The ServiceMonitors select Services whose label is the job's name."""
    rendered = helm.rendered("--values", VALUES[-1])
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "rules" / "gateway.yml").read_text())
    assert _find(rendered, "PrometheusRule/second-gateway")["spec"] == alerts
    for name, service in {"authz": "authz", "envoy": "envoy-metrics"}.items():
        monitor = _find(rendered, f"ServiceMonitor/second-{name}")["spec"]
        labels = _find(rendered, f"Service/second-{service}")["metadata"]["labels"]
        assert labels.items() >= monitor["selector"]["matchLabels"].items()
        assert labels[monitor["jobLabel"]] == name
        ports = _find(rendered, f"Service/second-{service}")["spec"]["ports"]
        assert monitor["endpoints"][0]["port"] in {one["name"] for one in ports}
    gateway = _find(rendered, "Service/second-gateway")["spec"]["ports"]
    assert [one["name"] for one in gateway] == ["http"]


def test_an_empty_list_opens_nothing(helm: Helm) -> None:
    """A rule with an empty list is left out, since an empty `from` or `to` would allow everyone."""
    empty = "networkPolicy.monitoring=[],networkPolicy.dns=[],authz.egress=[],envoy.egress=[]"
    rendered = helm.rendered("--set-json", empty)
    policies = [one["spec"] for one in rendered if one["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for policy in policies:
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        for rule in policy.get("ingress") or []:
            ports = {port["port"] for port in rule["ports"]}
            assert "from" in rule or ports == {8080}
            assert rule.get("from", [True])
        for rule in policy.get("egress") or []:
            assert rule["to"]


def test_without_a_database(helm: Helm) -> None:
    """With Coder as identity no Pod needs a database's Secret, and no container creates tables."""
    (coder,) = (path for path in VALUES if path.stem == "coder")
    rendered = helm.rendered("--values", coder)
    pod = _pod(rendered, "authz")["spec"]
    assert "initContainers" not in pod
    assert "database" not in {one["name"] for one in pod["volumes"]}
    assert _find(rendered, "Deployment/envoy")["spec"]["replicas"] == 4
    assert "HorizontalPodAutoscaler" not in {one["kind"] for one in rendered}


def test_versions() -> None:
    """The chart's version is the project's, and Envoy's version is the base's."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == authz.__version__
    images = yaml.safe_load((BASE / "kustomization.yaml").read_text())["images"]
    tags = {one["name"]: one["newTag"] for one in images}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert tags == {
        values["authz"]["image"]["repository"]: authz.__version__,
        values["envoy"]["image"]["repository"]: values["envoy"]["image"]["tag"],
    }
