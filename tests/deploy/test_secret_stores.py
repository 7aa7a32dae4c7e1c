"""deploy/kubernetes/secrets: provider keys from a vault, in the files that gateway.yaml names."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.deployment import BASE, DEPLOY

FOLDER = DEPLOY / "kubernetes" / "secrets"
OVERLAYS = ["csi", "external-secrets", "vault-agent"]
KEYS = {"anthropic", "openai"}
_MOUNT = "/run/providers"


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_every_overlay_is_here() -> None:
    """Every overlay is tested here, and each file in it is named by its kustomization."""
    assert sorted(path.name for path in FOLDER.iterdir()) == OVERLAYS
    for name in OVERLAYS:
        text = (FOLDER / name / "kustomization.yaml").read_text()
        for path in (FOLDER / name).iterdir():
            assert path.name == "kustomization.yaml" or path.name in text


def test_the_files_are_those_of_the_configuration() -> None:
    """Each way provides the files that the providers of gateway.yaml name."""
    config = yaml.safe_load((BASE / "gateway.yaml").read_text())
    files = {one["key"]["file"] for one in config["providers"] if "key" in one}
    assert files == {f"{_MOUNT}/{name}" for name in KEYS}
    external = _documents(FOLDER / "external-secrets" / "external-secret.yaml")[-1]["spec"]
    assert {one["secretKey"] for one in external["data"]} == KEYS
    assert external["target"]["name"] == "provider-keys"
    (csi,) = _documents(FOLDER / "csi" / "secret-provider-class.yaml")
    objects = yaml.safe_load(csi["spec"]["parameters"]["objects"])
    assert {one["objectName"] for one in objects} == KEYS
    (agent,) = _documents(FOLDER / "vault-agent" / "authz.yaml")
    annotations = agent["spec"]["template"]["metadata"]["annotations"]
    assert annotations["vault.hashicorp.com/secret-volume-path"] == _MOUNT
    for kind in ("secret", "template", "perms"):
        pattern = re.compile(rf"vault\.hashicorp\.com/agent-inject-{kind}-(\w+)")
        assert {match[1] for match in map(pattern.fullmatch, annotations) if match} == KEYS


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_builds_it(name: str) -> None:
    """Kubernetes' schema accepts the built objects, and only the wanted volume has changed."""
    line = ["kubectl", "kustomize", str(FOLDER / name)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    documents = list(yaml.safe_load_all(done.stdout))
    for document in documents:
        if (
            "external-secrets" not in document["apiVersion"]
            and "csi." not in document["apiVersion"]
        ):
            kubernetes_validate.validate(document, "1.33", strict=True)
    (pod,) = (
        one["spec"]["template"]["spec"]
        for one in documents
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", "authz")
    )
    volumes = {one["name"]: one for one in pod["volumes"]}
    (authz,) = pod["containers"]
    mounts = {one["mountPath"] for one in authz["volumeMounts"]}
    if name == "external-secrets":
        assert volumes["providers"]["secret"] == {"secretName": "provider-keys"}
    elif name == "csi":
        assert set(volumes["providers"]) == {"name", "csi"}
    else:
        assert "providers" not in volumes
    assert (_MOUNT in mounts) is (name != "vault-agent")
