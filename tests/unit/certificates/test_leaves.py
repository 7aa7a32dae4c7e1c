"""Leaf certificates as files for Envoy."""

import datetime
import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from authz.certificates import leaves
from authz.certificates.ca import CertificateAuthority, load_ca, make_ca
from authz.certificates.leaves import ensure_leaf, leaf_file
from tests.e2e.proxy.company import Company

HOST = "api.anthropic.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A CA."""
    return _authority(tmp_path_factory.mktemp("ca"))


def _authority(folder: Path) -> CertificateAuthority:
    files = folder / "ca.pem", folder / "key.pem"
    make_ca(*files, "Test CA")
    return load_ca(*files)


def _secret(folder: Path, host: str) -> dict[str, Any]:
    (secret,) = yaml.safe_load(leaf_file(folder, host).read_text())["resources"]
    found: dict[str, Any] = secret
    return found


def _chain(folder: Path, host: str) -> list[x509.Certificate]:
    pem = _secret(folder, host)["tls_certificate"]["certificate_chain"]["inline_string"]
    return x509.load_pem_x509_certificates(pem.encode())


@pytest.mark.parametrize("host", [HOST, "127.0.0.1", "::1", "localhost", f"{'a' * 60}.{'b' * 60}"])
def test_leaf(tmp_path: Path, authority: CertificateAuthority, host: str) -> None:
    """A leaf is for one name or address, signed by the CA, for a server, with its own key."""
    assert ensure_leaf(authority, tmp_path, host)
    (leaf,) = _chain(tmp_path, host)
    leaf.verify_directly_issued_by(authority.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        expected: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(host))]
    except ValueError:
        expected = [x509.DNSName(host)]
    assert list(names) == expected
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    secret = _secret(tmp_path, host)
    assert secret["name"] == host
    pem = secret["tls_certificate"]["private_key"]["inline_string"].encode()
    key = serialization.load_pem_private_key(pem, None)
    assert key.public_key() == leaf.public_key()
    assert key.public_key() != authority.certificate.public_key()


def test_file(tmp_path: Path, authority: CertificateAuthority) -> None:
    """The file has mode 0600, and each host has a folder of its own."""
    for host in (HOST, "api.openai.com"):
        ensure_leaf(authority, tmp_path, host)
        path = leaf_file(tmp_path, host)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert list(path.parent.iterdir()) == [path]


def test_good_leaf_stays(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A leaf that is valid for long enough is kept."""
    ensure_leaf(authority, tmp_path, HOST)
    before = leaf_file(tmp_path, HOST).read_text()
    assert not ensure_leaf(authority, tmp_path, HOST)
    assert leaf_file(tmp_path, HOST).read_text() == before


def test_ending_leaf(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaf that ends within ten days is made again."""
    with monkeypatch.context() as patch:
        patch.setattr(leaves, "LEAF_LIFETIME", datetime.timedelta(days=9, hours=23))
        ensure_leaf(authority, tmp_path, HOST)
    assert ensure_leaf(authority, tmp_path, HOST)
    with monkeypatch.context() as patch:
        patch.setattr(leaves, "LEAF_LIFETIME", datetime.timedelta(days=10, hours=1))
        leaf_file(tmp_path, HOST).unlink()
        ensure_leaf(authority, tmp_path, HOST)
    assert not ensure_leaf(authority, tmp_path, HOST)


def test_leaf_of_another_ca(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A leaf of another CA is replaced, even if both CAs have the same name."""
    other = tmp_path / "other"
    other.mkdir()
    ensure_leaf(_authority(other), tmp_path, HOST)
    assert ensure_leaf(authority, tmp_path, HOST)
    _chain(tmp_path, HOST)[0].verify_directly_issued_by(authority.certificate)


@pytest.mark.parametrize(
    "content", ["", "nonsense", "resources: []", "resources: [{tls_certificate: {}}]", "\0"]
)
def test_damaged_file(tmp_path: Path, authority: CertificateAuthority, content: str) -> None:
    """A damaged file is replaced."""
    path = leaf_file(tmp_path, HOST)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert ensure_leaf(authority, tmp_path, HOST)
    assert len(_chain(tmp_path, HOST)) == 1


def test_chain_of_an_intermediate(tmp_path: Path) -> None:
    """An intermediate is sent along, the self-signed root is not."""
    company = Company(tmp_path)
    authority = load_ca(company.intermediate_file, company.key_file)
    ensure_leaf(authority, tmp_path, HOST)
    names = [each.subject.rfc4514_string() for each in _chain(tmp_path, HOST)]
    assert names == [f"CN={HOST}", "CN=Company Gateway"]


def test_leaf_ends_with_its_ca(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No leaf outlives the CA or begins before it."""
    monkeypatch.setattr(leaves, "LEAF_LIFETIME", datetime.timedelta(days=9999))
    monkeypatch.setattr(leaves, "CLOCK_SKEW", datetime.timedelta(days=9))
    ensure_leaf(authority, tmp_path, HOST)
    (leaf,) = _chain(tmp_path, HOST)
    assert leaf.not_valid_before_utc == authority.certificate.not_valid_before_utc
    assert leaf.not_valid_after_utc == authority.certificate.not_valid_after_utc
