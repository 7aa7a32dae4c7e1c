"""``authz config check``, by its exit status and its lines."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from authz.proxy import ca
from tests.support.certificates import Authority


def _check(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    (folder / "gateway.yaml").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "authz", "config", "check"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wrong_configuration_fails_the_command(tmp_path: Path) -> None:
    """It exits 1 and names the key, which is what a pipeline goes by; a right one exits 0."""
    for text, status in (("bogus: 1\n", 1), ("allow_byok: true\n", 0)):
        done = _check(tmp_path, text)
        assert done.returncode == status
        assert ("bogus: unknown key" in done.stderr) == (status == 1)


def _proxy(cert_file: str, key_file: str) -> dict[str, Any]:
    return {"proxy": {"ca": {"cert_file": cert_file, "key_file": key_file}}}


def _expired(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(ca, "CA_LIFETIME", -ca.CLOCK_SKEW / 2)
    ca.make_ca(folder / "old.pem", folder / "old.key", "Old")
    [old] = x509.load_pem_x509_certificates((folder / "old.pem").read_bytes())
    assert old.not_valid_before_utc < old.not_valid_after_utc


_PROVIDER = {"name": "a", "type": "openai", "base_url": "https://a.example"}
_FILES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "missing CA": (lambda: _proxy("none.pem", "none.key"), "proxy.ca: none.pem is not there"),
    "no CA": (lambda: _proxy("leaf.pem", "leaf.key"), "proxy.ca.cert_file: the certificate is not"),
    "other key": (lambda: _proxy("good.pem", "leaf.key"), "proxy.ca: the key is not that of"),
    "expired CA": (lambda: _proxy("old.pem", "old.key"), "proxy.ca.cert_file: the certificate has"),
    "no PEM": (lambda: _proxy("text", "text"), "proxy.ca: the files are no PEM"),
    "provider": (
        lambda: {"providers": [{**_PROVIDER, "ca_file": "text"}]},
        "providers[0].ca_file: text holds no PEM certificates",
    ),
    "identity": (
        lambda: {"identity": "https://coder.example", "identity_ca_file": "text"},
        "identity_ca_file: text holds no PEM certificates",
    ),
    "tls": (lambda: {"tls": {"cert_file": "good.pem", "key_file": "leaf.key"}}, "tls: cert_file"),
    "proxy.tls": (
        lambda: {"proxy": {"tls": {"cert_file": "good.pem", "key_file": "leaf.key"}}},
        "proxy.tls: cert_file and key_file are no matching PEM pair",
    ),
}


@pytest.mark.parametrize("case", _FILES)
def test_certificate_files(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of certificates that can't do its work is one line that names its key, and exit 1."""
    cert_file, key_file = Authority(tmp_path, "issuer").issue()
    cert_file.rename(tmp_path / "leaf.pem")
    key_file.rename(tmp_path / "leaf.key")
    (tmp_path / "leaf.key").chmod(0o600)
    ca.make_ca(tmp_path / "good.pem", tmp_path / "good.key", "Good")
    _expired(monkeypatch, tmp_path)
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "text").chmod(0o600)
    settings, line = _FILES[case]
    done = _check(tmp_path, yaml.safe_dump(settings()))
    assert done.stdout == ""
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


def test_good_certificate_files(tmp_path: Path) -> None:
    """Files that can do their work pass."""
    authority = Authority(tmp_path, "issuer")
    cert_file, key_file = authority.issue()
    ca.make_ca(tmp_path / "good.pem", tmp_path / "good.key", "Good")
    tls = {"cert_file": str(cert_file), "key_file": str(key_file)}
    settings = {
        **_proxy("good.pem", "good.key"),
        "tls": tls,
        "providers": [{**_PROVIDER, "ca_file": str(authority.ca_file)}],
    }
    done = _check(tmp_path, yaml.safe_dump(settings))
    assert (done.returncode, done.stderr) == (0, "")


def test_rows_that_cannot_be_written_are_noted(tmp_path: Path) -> None:
    """A usage database that can't be made is named in a note, with the reason."""
    (tmp_path / "state").write_text("a file where a folder has to be")
    identity = "identity: https://coder.example.com\n"
    done = _check(tmp_path, identity + "usage: {database: 'sqlite:///./state/usage.db'}\n")
    assert done.returncode == 0
    assert "note: usage: no request can be recorded: state/usage.db can't be made" in done.stdout
    assert "note: usage" in _check(tmp_path, identity).stdout
    done = _check(tmp_path, identity + "usage: {database: 'sqlite:///./usage.db'}\n")
    assert "note: usage" not in done.stdout
    assert not (tmp_path / "usage.db").exists()
