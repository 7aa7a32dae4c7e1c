"""Builds Envoy Gateway and Istio's pilot-discovery through the Go module proxy, once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ENVOY_GATEWAY = "github.com/envoyproxy/gateway"
ENVOY_GATEWAY_VERSION = "v1.9.1"
ISTIO = "istio.io/istio"
ISTIO_VERSION = "v0.0.0-20260827124520-eed52ebb66ad"
"""The latest commit in the module proxy, since Istio's releases are not Go modules."""

_SECONDS = 3600


def envoy_gateway() -> Path:
    """Return Envoy Gateway; skip the test if it can't be built here."""
    return _program(f"{ENVOY_GATEWAY}/cmd/envoy-gateway", ENVOY_GATEWAY_VERSION)


def pilot_discovery() -> Path:
    """Return Istio's control plane; skip the test if it can't be built here."""
    return _program(f"{ISTIO}/pilot/cmd/pilot-discovery", ISTIO_VERSION)


def module_folder(module: str, version: str) -> Path:
    """Return the folder with a module's files, such as its CRDs."""
    cache = Path(_run([_go(), "env", "GOMODCACHE"]).strip())
    _run([_go(), "mod", "download", f"{module}@{version}"])
    return cache / f"{module}@{version}"


def _program(package: str, version: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "authz-gateways" / version
    program = folder / package.rpartition("/")[2]
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Sixteen minutes of one processor for Envoy Gateway.
        settings = ["-trimpath", "-ldflags=-s -w", "-p", "2"]
        _run(
            ["nice", "-n", "10", _go(), "install", *settings, f"{package}@{version}"],
            GOBIN=str(folder),
        )
    return program


def _go() -> str:
    found = shutil.which("go")
    if found is None:
        pytest.skip("needs Go 1.26 or newer, which builds the gateway")
    return found


def _run(command: list[str], **environ: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environ},
        # Outside of this project, whose folder is no Go module.
        cwd="/",
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command[-2:])} failed: {done.stderr[-1000:]}")
    return done.stdout
