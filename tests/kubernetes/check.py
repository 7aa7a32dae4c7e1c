"""Asks a real kube-apiserver about every manifest, and prints a table: `make test-kubernetes`.

The schema, the defaults, the admission and Pod Security are the apiserver's own, also for the
kinds of cert-manager and of the Prometheus operator. Nothing is scheduled.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes import tools
from tests.kubernetes.apiserver import Kubectl, apiserver
from tests.support.chart import CHART, VALUES, Helm, kustomized
from tests.support.deployment import BASE, DEPLOY

NAMESPACE = "ai-gateway"


@dataclass
class Table:
    """The results of the checks."""

    rows: list[tuple[str, str, float, str]] = field(default_factory=list)

    def check(self, name: str, ask: Callable[[], str]) -> None:
        """Make one check; an exception is its failure."""
        start = time.monotonic()
        try:
            result, said = "passed", ask()
        except (AssertionError, RuntimeError, pytest.fail.Exception) as error:
            result, said = "FAILED", " ".join(str(error).split())
        self.rows.append((name, result, time.monotonic() - start, said))
        print(f"| {name} | {result} | {self.rows[-1][2]:.1f} s | {said} |", flush=True)

    @property
    def failed(self) -> int:
        """The number of checks that failed."""
        return sum(result != "passed" for _, result, _, _ in self.rows)


@dataclass
class Checks:
    """The checks, and the programs they need."""

    kubectl: Kubectl
    helm: Helm
    kustomize: list[str]

    def accepted(self, documents: list[dict[str, Any]]) -> str:
        """Dry-run objects on the server, with unknown keys as errors."""
        text = yaml.safe_dump_all(documents)
        arguments = ("--server-side", "--dry-run=server", "--validate=strict")
        # A warning of the server, such as for a deprecated key, is a failure, too.
        done = self.kubectl.run("apply", *arguments, "-n", NAMESPACE, "-f", "-", text=text)
        if done.returncode != 0 or done.stderr.strip():
            raise RuntimeError(done.stderr.strip())
        accepted = done.stdout.splitlines()
        assert len(accepted) == len(documents), done.stdout
        return f"{len(accepted)} objects"

    def restricted(self, documents: list[dict[str, Any]]) -> str:
        """Post the Pod templates as Pods to the namespace, which enforces `restricted`."""
        names = []
        for document in documents:
            if document["kind"] == "Deployment":
                self._post(_as_pod(document))
                names.append(document["metadata"]["name"])
        assert names, "no Deployment"
        return "Pods of " + ", ".join(names)

    def refused(self, documents: list[dict[str, Any]]) -> str:
        """Assert that Pod Security is in force: it refuses each Pod that is loosened."""
        refused: list[str] = []
        for document in documents:
            if document["kind"] == "Deployment":
                for loosen in (_as_root, _with_capabilities, _on_the_host):
                    pod = _as_pod(document)
                    loosen(pod)
                    with pytest.raises(RuntimeError, match="violates PodSecurity"):
                        self._post(pod)
                    refused.append(loosen.__name__.replace("_", " ").strip())
        return ", ".join(dict.fromkeys(refused))

    def _post(self, pod: dict[str, Any]) -> None:
        text = json.dumps(pod)
        self.kubectl.must("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-", text=text)

    def installed(self, folder: Path) -> str:
        """Install a release, upgrade it with another gateway.yaml, roll it back and remove it."""
        config = ("--kubeconfig", self.kubectl.kubeconfig, "--namespace", NAMESPACE)

        def run(*arguments: str | Path) -> None:
            done = self.helm.run(*arguments, *config)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip())

        def generations() -> dict[str, int]:
            text = self.kubectl.must("get", "deployments", "-n", NAMESPACE, "-o", "json")
            found = json.loads(text)["items"]
            return {one["metadata"]["name"]: one["metadata"]["generation"] for one in found}

        changed = folder / "gateway.yaml"
        changed.write_text((BASE / "gateway.yaml").read_text() + "audit_keep_days: 30\n")
        run("install", "gateway", CHART, "--dry-run=server")
        run("install", "gateway", CHART)
        assert generations() == {"authz": 1, "envoy": 1}, generations()
        run("upgrade", "gateway", CHART)
        assert generations() == {"authz": 1, "envoy": 1}, "an upgrade without a change rolls Pods"
        run("upgrade", "gateway", CHART, "--set-file", f"gateway={changed}")
        assert generations() == {"authz": 2, "envoy": 2}, generations()
        run("rollback", "gateway", "1")
        assert generations() == {"authz": 3, "envoy": 3}, generations()
        run("uninstall", "gateway")
        assert generations() == {}, generations()
        return "a changed gateway.yaml rolled both Deployments; no change rolled none"


def _as_pod(deployment: dict[str, Any]) -> dict[str, Any]:
    template = json.loads(json.dumps(deployment["spec"]["template"]))
    # The ServiceAccount is none of a dry run, and a PriorityClass is the cluster's.
    template["spec"]["serviceAccountName"] = "default"
    for constraint in template["spec"]["topologySpreadConstraints"]:
        # The Deployment's controller gives a Pod this label.
        constraint.pop("matchLabelKeys", None)
    name = deployment["metadata"]["name"]
    metadata = {**template["metadata"], "name": name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _as_root(pod: dict[str, Any]) -> None:
    pod["spec"]["securityContext"]["runAsUser"] = 0


def _with_capabilities(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {"add": ["NET_ADMIN"]}


def _on_the_host(pod: dict[str, Any]) -> None:
    pod["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})


def main() -> None:
    """Run all checks; one that fails makes the process fail."""
    helm, kustomize = Helm(tools.helm()), tools.kustomize()
    binary, crds = tools.kube_apiserver(), tools.crds()
    table = Table()
    start = time.monotonic()
    with apiserver(binary) as kubectl, tempfile.TemporaryDirectory() as folder:
        started = time.monotonic() - start
        version = json.loads(kubectl.must("get", "--raw", "/version"))["gitVersion"]
        print(f"kube-apiserver {version}, ready after {started:.1f} s")
        checks = Checks(kubectl, helm, kustomize)
        for path in crds:
            kubectl.must("apply", "--server-side", "-f", path)
        kubectl.must("wait", "--for=condition=established", "crd", "--all", "--timeout=60s")
        kubectl.must("apply", "--server-side", "-f", BASE / "namespace.yaml")
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        kubectl.must("apply", "--server-side", "-n", NAMESPACE, "-f", "-", text=json.dumps(account))
        print("| what | result | time | |\n| --- | --- | --- | --- |")
        for name in ("base", "cert-manager", "monitoring"):
            made = kustomized(kustomize, DEPLOY / "kubernetes" / name)
            table.check(f"kustomize {name}", partial(checks.accepted, made))
        charts = {"its defaults": helm.rendered()}
        charts |= {path.name: helm.rendered("--values", path) for path in VALUES}
        for name, made in charts.items():
            table.check(f"chart, {name}", partial(checks.accepted, made))
            table.check(f"Pod Security, {name}", partial(checks.restricted, made))
        defaults = charts["its defaults"]
        table.check("Pod Security refuses", partial(checks.refused, defaults))
        table.check("helm install, upgrade, rollback", partial(checks.installed, Path(folder)))
    print(f"{len(table.rows)} checks, {table.failed} failed, {time.monotonic() - start:.0f} s")
    sys.exit(table.failed > 0)


if __name__ == "__main__":
    main()
