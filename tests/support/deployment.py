"""The locations and contents of the deployment files."""

from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
COMPOSE = REPOSITORY / "docker-compose.yml"


def compose() -> dict[str, Any]:
    """Return docker-compose.yml as plain data."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


def manifests(folder: Path = BASE) -> list[dict[str, Any]]:
    """Return the Kubernetes objects that a kustomization lists as files."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[dict[str, Any]] = []
    for name in kustomization["resources"]:
        if (folder / name).is_file():
            found += yaml.safe_load_all((folder / name).read_text())
    return found


def manifest(kind: str, name: str, folder: Path = BASE) -> dict[str, Any]:
    """Return one Kubernetes object."""
    (found,) = (
        one for one in manifests(folder) if (one["kind"], one["metadata"]["name"]) == (kind, name)
    )
    return found
