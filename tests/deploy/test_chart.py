"""deploy/helm: the same objects as the kustomize base, and clear errors. `make test-chart`."""

import copy
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import authz
from tests.kubernetes.tools import find_helm, find_kustomize
from tests.support.chart import CHART, FOREIGN_GROUPS, VALUES, Helm, key, kustomized
from tests.support.deployment import BASE, DEPLOY, REPOSITORY

GATEWAY = (BASE / "gateway.yaml").read_text()
OLDEST, NEWEST = "1.27", "1.37"
OF_HELM = ("app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart")


@pytest.fixture(scope="module")
def helm() -> Helm:
    """The helm that HELM names or that is on this machine."""
    path = find_helm()
    if path is None:
        pytest.skip("no helm here; `make test-chart` builds one")
    return Helm(path)


@pytest.fixture(scope="module")
def kustomize() -> list[str]:
    """The command of a kustomize that is on this machine."""
    command = find_kustomize()
    if command is None:
        pytest.skip("no kubectl and no kustomize here; `make test-chart` builds one")
    return command


def _find(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (one for one in documents if key(one) == name)
    return found


def _pod(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    pod: dict[str, Any] = _find(documents, f"Deployment/{name}")["spec"]["template"]
    return pod


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    else:
        yield str(value)


def test_the_base_is_made_from_the_chart(helm: Helm) -> None:
    """`make manifests` would change no file."""
    render = runpy.run_path(str(DEPLOY / "kubernetes" / "render.py"))["render"]
    for path, text in render(helm.path).items():
        assert (DEPLOY / "kubernetes" / path).read_text() == text, "run `make manifests`"


def _comparable(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the objects by name, without what only one of the two tools sets."""
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
    """Object by object, what `kubectl apply -k` and `helm install` make is equal."""
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
    """The schemas of the oldest and of the newest version accept it; unknown keys are errors."""
    for document in helm.rendered("--values", values or CHART / "values.yaml"):
        if not document["apiVersion"].startswith(FOREIGN_GROUPS):
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(document, version, strict=True)


def test_lint(helm: Helm) -> None:
    """`helm lint --strict` has no finding."""
    done = helm.run("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_a_package_has_the_linked_files(helm: Helm, tmp_path: Path) -> None:
    """The archive of `helm package` makes the same objects as the folder."""
    done = helm.run("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.iterdir()
    values = ("--values", VALUES[-1])
    assert helm.rendered(*values, chart=archive) == helm.rendered(*values)


def test_gateway_yaml_is_verbatim(helm: Helm, tmp_path: Path) -> None:
    """The text of the value is the text of the file in the Pods, whatever is in it."""
    text = f"\n# {{{{ .Values }}}} $HOME 'ä'\t\n{GATEWAY}\n\n  # the end"
    (tmp_path / "gateway.yaml").write_text(text)
    rendered = helm.rendered("--set-file", f"gateway={tmp_path / 'gateway.yaml'}")
    assert _find(rendered, "ConfigMap/gateway")["data"]["gateway.yaml"] == text


def test_a_changed_gateway_yaml_rolls_both(helm: Helm, tmp_path: Path) -> None:
    """Both Deployments' Pods change with it, and nothing else of them."""
    (tmp_path / "gateway.yaml").write_text(GATEWAY + "allow_byok: false\n".replace("allow", "# "))
    before = helm.rendered()
    after = helm.rendered("--set-file", f"gateway={tmp_path / 'gateway.yaml'}")
    for name in ("authz", "envoy"):
        old, new = _pod(before, name), _pod(after, name)
        checksums = [one["metadata"]["annotations"].pop("checksum/gateway") for one in (old, new)]
        assert len(set(checksums)) == 2
        assert old == new


def test_ports_and_times_are_those_of_gateway_yaml(helm: Helm) -> None:
    """Services, containers, policies and the drain follow the file."""
    rendered = helm.rendered("--values", VALUES[-1])
    service = _find(rendered, "Service/second-authz")["spec"]["ports"]
    assert [one["port"] for one in service] == [19001, 18081, 18082]
    pod = _pod(rendered, "second-envoy")["spec"]
    (envoy,) = pod["containers"]
    ports = {one["name"]: one["containerPort"] for one in envoy["ports"]}
    assert ports == {"http": 18080, "proxy": 18888, "metrics": 19902}
    environ = {one["name"]: one["value"] for one in envoy["env"]}
    assert environ["ENVOY_ADMIN_PORT"] == "19901"
    assert environ["DRAIN_SECONDS"] == "5400"
    assert pod["terminationGracePeriodSeconds"] == 5460
    assert envoy["command"][envoy["command"].index("--concurrency") + 1] == "4"
    policy = _find(rendered, "NetworkPolicy/second-envoy")["spec"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {
        18080,
        18888,
        19902,
    }
    assert {port["port"] for port in policy["egress"][0]["ports"]} == {19001, 18082}


def test_options_reach_both_pods(helm: Helm) -> None:
    """What a cluster's rules need is set on both: labels, tolerations, pull secrets, volumes."""
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
    assert {one["name"] for one in gateway} == {"http", "proxy"}


def test_an_empty_list_opens_nothing(helm: Helm) -> None:
    """A NetworkPolicy's empty `from` or `to` means everybody, so such a rule is left out."""
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
    """With Coder as identity no Pod asks for a database's Secret, and nothing is made in one."""
    (coder,) = (path for path in VALUES if path.stem == "coder")
    rendered = helm.rendered("--values", coder)
    pod = _pod(rendered, "authz")["spec"]
    assert "initContainers" not in pod
    assert "database" not in {one["name"] for one in pod["volumes"]}
    assert _find(rendered, "Deployment/envoy")["spec"]["replicas"] == 4
    assert "HorizontalPodAutoscaler" not in {one["kind"] for one in rendered}


REFUSED = {
    "authz.replicas=two": "at '/authz/replicas': got string, want integer",
    "authz.replica=3": "at '/authz': additional properties 'replica' not allowed",
    "secrets.providerKeys=Not_A_Name": "at '/secrets/providerKeys': 'Not_A_Name' does not match",
    "authz.image.digest=latest": "at '/authz/image/digest'",
    "envoy.service.type=Ingress": "at '/envoy/service/type': value must be one of",
    "fullnameOverride=other": "set envoy.authz_grpc: [other-authz:9001]",
    "envoy.resources.limits.memory=512Mi": "set envoy.max_heap_mib below the limit",
    "gateway=[": "gateway: not valid YAML",
}


@pytest.mark.parametrize("value", REFUSED)
def test_bad_values(helm: Helm, value: str) -> None:
    """The error names the value and what it may be."""
    assert REFUSED[value] in helm.refusal("--set", value)


UNFIT = {
    ("workers: 1 ", "workers: 4 "): "set authz.workers: 1.",
    ("workers: 1 ", ""): "set authz.workers: 1.",
    ("  concurrency: 2", ""): "set envoy.concurrency, such as 2",
    ("max_heap_mib: 768", "max_heap_mib: 1024"): "set envoy.max_heap_mib below the limit",
    ("listen: 0.0.0.0:8080", "listen: 127.0.0.1:8080"): "set listen to 0.0.0.0:PORT",
    ("grpc: 0.0.0.0:9001", "grpc: unix:authz.sock"): "set authz.grpc to 0.0.0.0:PORT",
    ("  envoy_http: 0.0.0.0:8082", ""): "set authz.envoy_http to 0.0.0.0:PORT",
    ("[authz:9001]", "[authz:9001, 10.0.0.1:9001]"): "set envoy.authz_grpc: [authz:9001]",
    ("  authz_http: [authz:8082]", ""): "set envoy.authz_http: [authz:8082]",
    ("  admin: 127.0.0.1:9901", ""): "set envoy.admin to 127.0.0.1:PORT",
    ("  metrics: 0.0.0.0:9902", ""): "set envoy.metrics to 0.0.0.0:PORT",
    ("drain_timeout: 3600", "drain_timeout: 1d"): "write envoy.drain_timeout in seconds",
    ("  tls: {", "  client_tls: {"): "set authz.tls to the files of /run/tls",
}


@pytest.mark.parametrize("change", UNFIT, ids=lambda pair: pair[1] or f"no {pair[0]}")
def test_a_gateway_yaml_that_does_not_fit(
    helm: Helm, change: tuple[str, str], tmp_path: Path
) -> None:
    """The error names the setting and its cure."""
    text = GATEWAY.replace(*change)
    assert text != GATEWAY
    (tmp_path / "gateway.yaml").write_text(text)
    said = helm.refusal("--set-file", f"gateway={tmp_path / 'gateway.yaml'}")
    assert UNFIT[change] in said


def test_values_and_schema() -> None:
    """The defaults are valid, and the schema has no option that values.yaml does not show."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)

    def compare(values: dict[str, Any], schema: dict[str, Any]) -> None:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
        if "properties" in schema:
            assert values.keys() == schema["properties"].keys() - {"global"}
            for name, part in schema["properties"].items():
                if isinstance(values.get(name), dict):
                    compare(values[name], part)

    definitions = schema["definitions"]
    compare(values, schema)


def test_versions() -> None:
    """The chart's version is the project's, and Envoy's is that of the base."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == authz.__version__
    images = yaml.safe_load((BASE / "kustomization.yaml").read_text())["images"]
    tags = {one["name"]: one["newTag"] for one in images}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert tags == {
        values["authz"]["image"]["repository"]: authz.__version__,
        values["envoy"]["image"]["repository"]: values["envoy"]["image"]["tag"],
    }


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_values_files_have_a_gateway_yaml(values: Path) -> None:
    """The settings' schema accepts what these tests deploy."""
    gateway = yaml.safe_load(yaml.safe_load(values.read_text())["gateway"])
    schema = json.loads((REPOSITORY / "docs" / "gateway.schema.json").read_text())
    jsonschema.validate(gateway, schema)


def test_no_value_is_a_secret() -> None:
    """Secrets are named, never given: the schema has no place for their content."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    names = schema["definitions"]["secretName"]
    assert names["maxLength"] == 253
    for name, part in schema["properties"]["secrets"]["properties"].items():
        assert part == {"$ref": "#/definitions/secretName"}, name
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert not [text for text in _strings(values) if text.startswith(("sk-", "-----BEGIN"))]
