"""The Helm chart and the kustomize base, rendered by the real programs."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.deployment import DEPLOY, REPOSITORY

CHART = DEPLOY / "helm"
VALUES = sorted((REPOSITORY / "tests" / "kubernetes" / "values").glob("*.yaml"))
KUBERNETES = "1.37.0"
FOREIGN_GROUPS = ("cert-manager.io/", "monitoring.coreos.com/")
"""The API groups that are not Kubernetes' own."""


class Helm:
    """One helm program."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a command, and return its output and status."""
        return subprocess.run([self.path, *arguments], capture_output=True, text=True, check=False)

    def rendered(
        self, *arguments: str | Path, chart: Path = CHART, release: str = "ai-gateway"
    ) -> list[dict[str, Any]]:
        """Return the objects of a release, with arguments such as ``--set``."""
        command = ("template", release, chart, "--namespace", "ai-gateway")
        done = self.run(*command, "--kube-version", KUBERNETES, *arguments)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    def refusal(self, *arguments: str | Path) -> str:
        """Return helm's error for values that can't be rendered."""
        done = self.run("template", "ai-gateway", CHART, "--kube-version", KUBERNETES, *arguments)
        assert done.returncode != 0, "helm rendered it"
        return done.stderr


def kustomized(command: list[str], folder: Path) -> list[dict[str, Any]]:
    """Return the objects of a kustomization."""
    done = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def key(document: dict[str, Any]) -> str:
    """Return the kind and the name of an object."""
    return f"{document['kind']}/{document['metadata']['name']}"
