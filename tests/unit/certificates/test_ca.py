"""Making and reading the proxy's CA."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from authz.certificates.ca import certificate_pem, load_ca, make_ca
from authz.errors import ConfigError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A CA that has just been made."""
    cert_file, key_file = tmp_path / "new" / "ca.pem", tmp_path / "new" / "key.pem"
    make_ca(cert_file, key_file, "Test CA")
    return cert_file, key_file


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _write(
    folder: Path,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    *,
    ca: bool | None = True,
    days: int = 1,
) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key; ``ca`` None leaves the constraint out."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Theirs")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - datetime.timedelta(days=9))
        .not_valid_after(_now() + datetime.timedelta(days=days))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    cert_file, key_file = folder / "ca.pem", folder / "key.pem"
    cert_file.write_text(certificate_pem(builder.sign(key, algorithm)))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key_file.chmod(0o600)
    return cert_file, key_file


def test_made_ca(files: tuple[Path, Path]) -> None:
    """A new CA has a P-256 key with mode 0600, ten years, and signs no further CA."""
    authority = load_ca(*files)
    certificate = authority.certificate
    assert certificate.subject.rfc4514_string() == "CN=Test CA"
    assert isinstance(authority.key, ec.EllipticCurvePrivateKey)
    assert isinstance(authority.key.curve, ec.SECP256R1)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature
    assert certificate.not_valid_before_utc < _now() - datetime.timedelta(minutes=50)
    assert certificate.not_valid_after_utc > _now() + datetime.timedelta(days=3640)
    assert files[1].stat().st_mode & 0o777 == 0o600
    assert files[0].parent.stat().st_mode & 0o777 == 0o700


def test_repr_shows_no_key(files: tuple[Path, Path]) -> None:
    """The repr of a CA, which a traceback would show, has only its name."""
    assert repr(load_ca(*files)) == "CertificateAuthority(CN=Test CA)"


@pytest.mark.parametrize("taken", [0, 1])
def test_nothing_is_replaced(tmp_path: Path, taken: int) -> None:
    """Neither file is written if one of them exists."""
    paths = (tmp_path / "ca.pem", tmp_path / "key.pem")
    paths[taken].write_text("precious")
    with pytest.raises(ConfigError, match="exists already"):
        make_ca(*paths, "Test CA")
    assert paths[taken].read_text() == "precious"
    assert not paths[1 - taken].exists()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
def test_key_for_owner_and_group(files: tuple[Path, Path], mode: int) -> None:
    """A group may read the key, as a container's often has to."""
    files[1].chmod(mode)
    assert load_ca(*files)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o602])
def test_key_for_everybody(files: tuple[Path, Path], mode: int) -> None:
    """A key that everyone can read or write is refused, and the error says how to fix it."""
    files[1].chmod(mode)
    with pytest.raises(ConfigError, match="others can read it: chmod 600"):
        load_ca(*files)


def test_rsa_ca(tmp_path: Path) -> None:
    """A company's CA may have an RSA key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert isinstance(load_ca(*_write(tmp_path, key)).key, rsa.RSAPrivateKey)


_ec = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: _write(folder, _ec, ca=False), "not a CA's"),
        (lambda folder: _write(folder, _ec, ca=None), "not a CA's"),
        (lambda folder: _write(folder, _ec, days=-1), "has expired"),
        (lambda folder: _write(folder, ed25519.Ed25519PrivateKey.generate()), "EC or RSA"),
    ],
    ids=["no CA", "no constraint", "expired", "Ed25519"],
)
def test_unfit_certificate(
    tmp_path: Path, make: Callable[[Path], tuple[Path, Path]], said: str
) -> None:
    """A certificate that can't sign for Envoy's clients is refused, and the message says why."""
    with pytest.raises(ConfigError, match=said):
        load_ca(*make(tmp_path))


@pytest.mark.parametrize("which", [0, 1])
def test_missing_file(files: tuple[Path, Path], which: int) -> None:
    """A missing file is named, with the command that makes it."""
    files[which].unlink()
    with pytest.raises(ConfigError, match=f"{files[which].name} is not there: run"):
        load_ca(*files)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe\x00", b"-----BEGIN X-----\n"])
def test_no_pem(files: tuple[Path, Path], which: int, content: bytes) -> None:
    """A file that is not PEM is refused, and its content is not shown."""
    files[which].write_bytes(content)
    with pytest.raises(ConfigError, match="not a PEM certificate and an unencrypted key"):
        load_ca(*files)


def test_encrypted_key(files: tuple[Path, Path]) -> None:
    """A key with a passphrase is refused, because authz could not ask for it."""
    authority = load_ca(*files)
    files[1].write_bytes(
        authority.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="unencrypted key"):
        load_ca(*files)


def test_key_of_another(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A key that does not match the certificate is refused."""
    other = (tmp_path / "other.pem", tmp_path / "other-key.pem")
    make_ca(*other, "Test CA")
    with pytest.raises(ConfigError, match="does not match the certificate"):
        load_ca(files[0], other[1])
