"""The certificate authority of the AI Gateway Proxy."""

import datetime
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from authz.errors import ConfigError
from authz.files import write_whole

CA_LIFETIME = datetime.timedelta(days=3650)
CLOCK_SKEW = datetime.timedelta(hours=1)
"""The validity of certificates begins this much earlier, for clients whose clock is slow."""

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A certificate authority with its private key.

    Attributes:
        chain: the CA's certificate, then further ones up to the root, as in its file.
        key: the private key.
    """

    chain: tuple[x509.Certificate, ...]
    key: SigningKey

    def __repr__(self) -> str:
        return f"CertificateAuthority({self.certificate.subject.rfc4514_string()})"

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that signs."""
        return self.chain[0]


def make_ca(cert_file: Path, key_file: Path, name: str) -> None:
    """Create a CA: a P-256 key with mode 0600 and a self-signed certificate for ten years.

    Args:
        cert_file: the file for the certificate, PEM.
        key_file: the file for the key, PEM.
        name: the common name, which people see in their trust store.

    Raises:
        ConfigError: one of the files exists. A CA that clients trust is never replaced.
        OSError: a file can't be written.
    """
    for path in (cert_file, key_file):
        if path.exists():
            raise ConfigError([f"{path} exists already: remove it first to create a new CA"])
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_whole(key_file, private_pem(key), 0o600)
    write_whole(cert_file, certificate_pem(certificate))


def load_ca(cert_file: Path, key_file: Path) -> CertificateAuthority:
    """Read a CA that ``make_ca`` created, or a company's intermediate CA.

    Raises:
        ConfigError: a file is missing, others can read the key, certificate and key don't match,
            or the certificate may not sign.
    """
    try:
        chain = x509.load_pem_x509_certificates(cert_file.read_bytes())
        if key_file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise ConfigError([f"proxy.ca.key_file: {key_file}: others can read it: chmod 600"])
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except FileNotFoundError as error:
        raise ConfigError(
            [f"proxy.ca: {error.filename} is not there: run `authz proxy ca`"]
        ) from None
    except OSError as error:
        raise ConfigError([f"proxy.ca: {error.filename}: {error.strerror}"]) from None
    except (ValueError, TypeError):
        raise ConfigError(
            ["proxy.ca: the files are not a PEM certificate and an unencrypted key"]
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigError(["proxy.ca.key_file: must be an EC or RSA key"])
    if key.public_key() != chain[0].public_key():
        raise ConfigError(["proxy.ca: the key does not match the certificate"])
    if not _may_sign(chain[0]):
        raise ConfigError(["proxy.ca.cert_file: the certificate is not a CA's"])
    if chain[0].not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise ConfigError(["proxy.ca.cert_file: the certificate has expired"])
    return CertificateAuthority(tuple(chain), key)


def private_pem(key: SigningKey) -> str:
    """Return a private key as unencrypted PKCS #8 in PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode("ascii")


def certificate_pem(certificate: x509.Certificate) -> str:
    """Return a certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
