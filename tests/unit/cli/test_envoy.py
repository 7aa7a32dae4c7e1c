"""``authz envoy validate``."""

import subprocess
import sys
from pathlib import Path

import yaml

from authz.certificates.ca import make_ca
from tests.support.certificates import Authority


def _validate(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "authz", "envoy", "validate", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_before_the_first_start(tmp_path: Path) -> None:
    """TLS listeners and the proxy are validated before a pair has run, and nothing is written."""
    cert_file, key_file = Authority(tmp_path, "issuer").issue()
    make_ca(tmp_path / "ca.pem", tmp_path / "ca.key", "CA")
    tls = {"cert_file": str(cert_file), "key_file": str(key_file)}
    proxy = {"ca": {"cert_file": "ca.pem", "key_file": "ca.key"}, "tls": tls}
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump({"tls": tls, "proxy": proxy}))
    before = _files(tmp_path)
    done = _validate(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "Envoy accepts the configuration.\n",
        "",
    )
    assert _files(tmp_path) == before


def test_without_the_proxys_ca(tmp_path: Path) -> None:
    """A CA that was not made yet is one line that says how to make it."""
    (tmp_path / "gateway.yaml").write_text("proxy: {}\n")
    done = _validate(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "authz: proxy.ca: .authz/ca.pem is not there: run `authz proxy ca`\n"


def test_a_file_is_validated_itself(tmp_path: Path) -> None:
    """With FILE, Envoy validates that file, whatever gateway.yaml says."""
    (tmp_path / "gateway.yaml").write_text("proxy: {}\n")
    file = tmp_path / "envoy.yaml"
    for text, status in (("static_resources: {}\n", 0), ("static_resources: {x: 1}\n", 1)):
        file.write_text(text)
        assert _validate(tmp_path, "envoy.yaml").returncode == status
