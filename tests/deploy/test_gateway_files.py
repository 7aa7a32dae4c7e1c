"""The gateway.yaml of Compose and of Kubernetes: valid, and rendered so that Envoy accepts it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from authz.config.loading import load
from authz.envoy.binary import validate
from tests.support.deployment import BASE, DEPLOY

FILES = {"compose": DEPLOY / "compose" / "gateway.yaml", "kubernetes": BASE / "gateway.yaml"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates that deploy/certificates.sh creates."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([DEPLOY / "certificates.sh", folder, "authz"], check=True)
    return folder


def _as_mounted(kind: str, side: str, certificates: Path, folder: Path, *, keys: bool) -> Path:
    """Write the file as the container of one side sees it: with its certificate and its secrets."""
    text = FILES[kind].read_text()
    secrets = folder / "secrets"
    secrets.mkdir()
    assert "/run/tls/tls.key" in text
    text = text.replace("/run/tls/", f"{certificates / side}/")
    text = text.replace("/run/secrets/", f"{secrets}/").replace("/run/providers/", f"{secrets}/")
    for provider in yaml.safe_load(text)["providers"]:
        if keys and "key" in provider:
            Path(provider["key"]["file"]).write_text(f"sk-{provider['name']}")
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", FILES)
def test_authz_serves_from_it(kind: str, certificates: Path, tmp_path: Path) -> None:
    """The file is a valid configuration with authz's certificate and the provider keys."""
    path = _as_mounted(kind, "authz", certificates, tmp_path, keys=True)
    config = load(path, environ={})
    assert config.providers
    assert config.authz.tls is not None


@pytest.mark.parametrize("kind", FILES)
def test_envoy_accepts_what_is_rendered(
    kind: str, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Envoy's certificate and no provider key, the real Envoy accepts the rendered file."""
    path = _as_mounted(kind, "envoy", certificates, tmp_path, keys=False)
    # As in the containers: both run in the folder that the configuration is in.
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "authz", "envoy", "render", "-o", "envoy.yaml"]
    subprocess.run([*command, "--config", path], check=True)
    validate(Path("envoy.yaml"))
    document = yaml.safe_load(Path("envoy.yaml").read_text())
    clusters = {one["name"]: one for one in document["static_resources"]["clusters"]}
    (locality,) = clusters["authz"]["load_assignment"]["endpoints"]
    (endpoint,) = locality["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "authz",
        "port_value": 9001,
    }
    assert clusters["authz"]["transport_socket"]["name"] == "envoy.transport_sockets.tls"
