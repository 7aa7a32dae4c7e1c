"""``authz manifests``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

CONFIG = {
    "identity": "sqlite:///identity.db",
    "external_gateways": {
        "routes": [
            {"httproute": "ai/anthropic", "path": "/anthropic", "provider": "anthropic"},
            {"host": "llm.example.com", "path": "/openai", "provider": "openai"},
        ]
    },
}


def _run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "authz", "manifests", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a ``gateway.yaml``."""
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def test_what_is_printed_passes_the_check(folder: Path) -> None:
    """The printed files have every setting; without one of them the check says what is missing."""
    authz = ("--authz", "127.0.0.1:9001")
    printed = {
        "eg.yaml": ("envoy-gateway", "--gateway", "infra/public", *authz),
        "istio.yaml": ("istio", *authz),
        "mesh.yaml": ("istio", "--mesh", *authz),
    }
    for name, arguments in printed.items():
        done = _run(folder, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        (folder / name).write_text(done.stdout)
    done = _run(folder, "check", *printed)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The manifests have every setting that authz needs.\n"
    file = folder / "eg.yaml"
    file.write_text(file.read_text().replace("statusOnError: 503", "statusOnError: 403"))
    done = _run(folder, "check", *printed)
    place = "eg.yaml: SecurityPolicy ai/anthropic"
    assert done.returncode == 1
    assert done.stdout.startswith(f"{place}: spec.extAuth.statusOnError: 503: clients get 403")
    (found,) = json.loads(_run(folder, "check", *printed, "-o", "json").stdout)
    assert (found["place"], found["setting"]) == (place, "spec.extAuth.statusOnError: 503")


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (("envoy-gateway",), 2, "--gateway"),
        (("envoy-gateway", "--gateway", "public"), 2, "must be NAMESPACE/NAME"),
        (("envoy-gateway", "--gateway", "a/b", "--authz", "x"), 2, "must be host:port"),
        (("envoy-gateway", "--gateway", "a/b"), 1, "--authz HOST:PORT"),
        (("istio", "--selector", "x"), 2, "must be KEY=VALUE"),
        (("istio", "--authz", "a.test:1", "--authz", "b.test:1"), 1, "Istio takes one name"),
        (("istio", "--authz", "10.0.0.1:1", "--authz", "10.0.0.2:2"), 1, "the same port"),
        (("check",), 2, "FILES"),
        (("check", "none.yaml"), 1, "none.yaml: No such file or directory"),
        (("check", "bad.yaml"), 1, "bad.yaml: is not YAML in line 2"),
    ],
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...], status: int, problem: str) -> None:
    """An error names the problem and what to write."""
    (folder / "bad.yaml").write_text("a: [\n")
    done = _run(folder, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert problem in done.stderr


def test_without_external_gateways(tmp_path: Path) -> None:
    """Without the section the command says that it is required."""
    (tmp_path / "gateway.yaml").write_text("identity: sqlite:///identity.db\n")
    done = _run(tmp_path, "istio")
    assert (done.returncode, done.stdout) == (1, "")
    assert "external_gateways: is required" in done.stderr


def test_a_kind_of_route_that_is_missing(tmp_path: Path) -> None:
    """Each command names the kind of route that it prints, if there is none."""
    routes = CONFIG["external_gateways"]["routes"]  # type: ignore[index]
    (tmp_path / "gateway.yaml").write_text(
        yaml.safe_dump({"external_gateways": {"routes": routes[1:]}})
    )
    done = _run(tmp_path, "envoy-gateway", "--gateway", "a/b", "--authz", "127.0.0.1:1")
    assert done.returncode == 1
    assert "has no route with httproute" in done.stderr
