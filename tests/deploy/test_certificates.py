"""deploy/certificates.sh: the certificates between Envoy and authz."""

import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.deployment import DEPLOY


def _make(folder: Path, *names: str) -> str:
    return subprocess.run(
        [DEPLOY / "certificates.sh", folder, *names], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates that the script creates for two names of authz."""
    path = tmp_path_factory.mktemp("certificates")
    assert _make(path, "authz", "authz.example").endswith("for authz authz.example\n")
    return path


def _context(folder: Path, side: str | None, purpose: ssl.Purpose) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cafile=folder / "authz" / "ca.crt")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if side is not None:
        context.load_cert_chain(folder / side / "tls.crt", folder / side / "tls.key")
    if purpose is ssl.Purpose.CLIENT_AUTH:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _shake_hands(folder: Path, client: str | None, name: str) -> None:
    """Connect a client to authz and receive one byte, which only a trusted client is sent."""
    ours, theirs = socket.socketpair()
    server = _context(folder, "authz", ssl.Purpose.CLIENT_AUTH)

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as tls:
                tls.sendall(b"!")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        context = _context(folder, client, ssl.Purpose.SERVER_AUTH)
        with ours, context.wrap_socket(ours, server_hostname=name) as tls:
            if tls.recv(1) != b"!":
                raise ssl.SSLError("closed")
    finally:
        thread.join(5)


@pytest.mark.parametrize("name", ["authz", "authz.example"])
def test_both_sides_trust_each_other(folder: Path, name: str) -> None:
    """Authz trusts Envoy's certificate, and Envoy trusts authz under each of its names."""
    _shake_hands(folder, "envoy", name)


@pytest.mark.parametrize(("client", "name"), [(None, "authz"), ("envoy", "envoy")])
def test_nobody_else_is_trusted(folder: Path, client: str | None, name: str) -> None:
    """A client without a certificate is refused, and so is a server with another name."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _shake_hands(folder, client, name)


def test_an_envoy_can_t_play_authz(folder: Path) -> None:
    """Each certificate has only the name of its own side."""
    for side, names in {"authz": ["authz", "authz.example"], "envoy": ["envoy"]}.items():
        certificate = x509.load_pem_x509_certificate((folder / side / "tls.crt").read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert found.value.get_values_for_type(x509.DNSName) == names


def test_only_the_owner_reads_the_keys(folder: Path) -> None:
    """Keys have mode 0600, and the CA's key is not kept."""
    keys = sorted(folder.rglob("*.key"))
    assert [str(path.relative_to(folder)) for path in keys] == ["authz/tls.key", "envoy/tls.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_good_certificates_stay(folder: Path) -> None:
    """A second run changes nothing; if a file is missing, all of them are made anew together."""
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    assert "are good" in _make(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
    (folder / "envoy" / "tls.crt").unlink()
    _make(folder, "authz", "authz.example")
    assert all(path.read_bytes() != old for path, old in before.items())
    _shake_hands(folder, "envoy", "authz")
