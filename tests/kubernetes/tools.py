"""Finds the programs of Kubernetes, or builds them from the Go module proxy and keeps them.

    python -m tests.kubernetes.tools helm     prints the path

Each is looked for in the variable of its name (HELM, KUSTOMIZE, KUBE_APISERVER), then in the
cache, ``~/.cache/authz``. helm takes minutes to build, kube-apiserver 10 to 30.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "authz"
HELM = "3.22.0"
KUSTOMIZE = "5.7.1"
KUBERNETES = "1.37.2"
CERT_MANAGER = "github.com/cert-manager/cert-manager@v1.21.2"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"


def find_helm() -> str | None:
    """Return a helm that is installed on this machine, or None."""
    return _named("HELM") or shutil.which("helm") or _cached("helm", HELM)


def helm() -> str:
    """Return a helm, built if there is none."""
    minor = KUBERNETES.split(".")[1]
    # Without these it takes every cluster for 1.20.
    package = "helm.sh/helm/v3/pkg/chartutil.k8sVersion"
    flags = f"-X {package}Major=1 -X {package}Minor={minor}"
    return find_helm() or _built(
        "helm", HELM, lambda: _install(f"helm.sh/helm/v3/cmd/helm@v{HELM}", flags)
    )


def find_kustomize() -> list[str] | None:
    """Return the command of a kustomize that is on this machine; a folder is its last argument."""
    if path := _named("KUSTOMIZE") or _cached("kustomize", KUSTOMIZE):
        return [path, "build"]
    kubectl = shutil.which("kubectl")
    return [kubectl, "kustomize"] if kubectl else None


def kustomize() -> list[str]:
    """Return the command of a kustomize, built if there is none."""
    package = f"sigs.k8s.io/kustomize/kustomize/v5@v{KUSTOMIZE}"
    return find_kustomize() or [_built("kustomize", KUSTOMIZE, lambda: _install(package)), "build"]


def kube_apiserver() -> str:
    """Return a kube-apiserver, built if there is none."""
    return (
        _named("KUBE_APISERVER")
        or _cached("kube-apiserver", KUBERNETES)
        or _built("kube-apiserver", KUBERNETES, _build_apiserver)
    )


def crds() -> list[Path]:
    """Return the definitions of the kinds that are not Kubernetes' own."""
    manager = _module(CERT_MANAGER) / "deploy" / "crds"
    operator = _module(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    return [
        *(manager / f"cert-manager.io_{kind}.yaml" for kind in ("certificates", "issuers")),
        *(
            operator / f"monitoring.coreos.com_{kind}.yaml"
            for kind in ("servicemonitors", "prometheusrules")
        ),
    ]


def program(name: str, package: str) -> str:
    """Return the path of a program that a system package provides."""
    path = shutil.which(name)
    if path is None:
        sys.exit(f"{name} is needed and not here: install it (Debian: {package})")
    return path


def _named(variable: str) -> str | None:
    path = os.environ.get(variable)
    if path and not os.access(path, os.X_OK):
        sys.exit(f"{variable}={path}: no program there")
    return path or None


def _cached(name: str, version: str) -> str | None:
    path = CACHE / f"{name}-{version}"
    return str(path) if os.access(path, os.X_OK) else None


def _built(name: str, version: str, build: Callable[[], Path]) -> str:
    program("go", "golang")
    print(f"{name} {version} is built from the Go module proxy", file=sys.stderr, flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}-{version}"
    built = build()
    # By a rename, so that a build that is cut off leaves nothing behind.
    shutil.copy2(built, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)
    shutil.rmtree(built.parent)
    return str(path)


def _go(*arguments: str, folder: Path, **variables: str) -> str:
    environ = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", **variables}
    done = subprocess.run(
        ["go", *arguments], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"go {arguments[0]} failed; what it said is above")
    return done.stdout


def _install(package: str, flags: str = "") -> Path:
    folder = Path(tempfile.mkdtemp(prefix="authz-go-"))
    name = package.partition("@")[0].split("/")[-1]
    name = "kustomize" if re.fullmatch(r"v\d+", name) else name
    _go(
        "install", "-trimpath", f"-ldflags=-s -w {flags}", package, folder=folder, GOBIN=f"{folder}"
    )
    return folder / name


def _module(module: str) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "go.mod").write_text("module download\n")
        answer = _go("mod", "download", "-json", module, folder=Path(folder))
    return Path(json.loads(answer)["Dir"])


def _build_apiserver() -> Path:
    """Build the apiserver from its module, whose parts are modules with versions 0.X."""
    source = _module(f"k8s.io/kubernetes@v{KUBERNETES}")
    folder = Path(tempfile.mkdtemp(prefix="authz-go-"))
    for name in ("go.mod", "go.sum"):
        shutil.copy(source / name, folder)
    for name in ("cmd", "pkg", "plugin", "third_party"):
        shutil.copytree(source / name, folder / name)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    modules = (folder / "go.mod").read_text()
    version = f"v0{KUBERNETES[1:]}"
    modules = re.sub(
        r"^(\s*k8s\.io/\S+) => \./staging/src/(\S+)", rf"\1 => \2 {version}", modules, flags=re.M
    )
    (folder / "go.mod").write_text(modules)
    # helm compares the version with the chart's kubeVersion.
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"
    arguments = ["-mod=mod", "-buildvcs=false", "-trimpath", f"-ldflags={flags}"]
    _go("build", *arguments, "-o", "kube-apiserver", "./cmd/kube-apiserver", folder=folder)
    return folder / "kube-apiserver"


def main() -> None:
    """Print what the argument names."""
    known = {
        "helm": helm,
        "kustomize": lambda: " ".join(kustomize()),
        "kube-apiserver": kube_apiserver,
    }
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        sys.exit(f"name one of {', '.join(known)}")
    print(known[sys.argv[1]]())


if __name__ == "__main__":
    main()
