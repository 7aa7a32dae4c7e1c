"""A company's own certificate authority: a root, and an intermediate for the gateway."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from authz.certificates.ca import certificate_pem, private_pem


class Company:
    """Files of a root and of an intermediate that it signed.

    Attributes:
        root_file: what the company's machines trust.
        intermediate_file: the intermediate, then the root.
        key_file: the intermediate's key.
    """

    def __init__(self, folder: Path, name: str = "Company") -> None:
        root_key = ec.generate_private_key(ec.SECP256R1())
        key = ec.generate_private_key(ec.SECP256R1())
        root = _sign(f"{name} Root", root_key, f"{name} Root", root_key, path_length=1)
        intermediate = _sign(f"{name} Gateway", key, f"{name} Root", root_key, path_length=0)
        self.root_file = folder / f"{name}-root.pem"
        self.intermediate_file = folder / f"{name}-intermediate.pem"
        self.key_file = folder / f"{name}-intermediate-key.pem"
        self.root_file.write_text(certificate_pem(root))
        self.intermediate_file.write_text(certificate_pem(intermediate) + certificate_pem(root))
        self.key_file.write_text(private_pem(key))
        self.key_file.chmod(0o600)


def _sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    path_length: int,
) -> x509.Certificate:
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
