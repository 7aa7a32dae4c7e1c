"""Certificate authorities for tests."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """A private CA that issues certificates for 127.0.0.1.

    Attributes:
        ca_file: its own certificate, PEM.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.ca_file = folder / f"{name}.pem"
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, address: str = "127.0.0.1", uses: Sequence[str] = ()) -> tuple[Path, Path]:
        """Make the files of a certificate for an IP address or a host name, and of its key.

        Args:
            uses: object identifiers of the extended key usage; without any there is none.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
        names = x509.SubjectAlternativeName([_general_name(address)])
        builder = (
            _builder(subject, self._name, key.public_key())
            .add_extension(names, critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if uses:
            usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(use) for use in uses])
            builder = builder.add_extension(usage, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem = f"{self.ca_file.stem}-{address}"
        cert_file, key_file = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_file, key_file


class Certificate:
    """A certificate and its key in files of their own, which can be replaced.

    Args:
        authority: signs it.
        folder: where the files are, together with a copy of the CA's.
        address: whom it names.
    """

    def __init__(self, authority: Authority, folder: Path, address: str = "127.0.0.1") -> None:
        folder.mkdir(exist_ok=True)
        self._address = address
        self.cert_file, self.key_file = folder / "tls.crt", folder / "tls.key"
        self.ca_file = folder / "ca.crt"
        self.renew(authority)
        self.trust(authority)

    @property
    def pair(self) -> dict[str, str]:
        """The own certificate, for ``gateway.yaml``."""
        return {"cert_file": str(self.cert_file), "key_file": str(self.key_file)}

    @property
    def mutual(self) -> dict[str, str]:
        """The own certificate and the trusted CA, for ``gateway.yaml``."""
        return {**self.pair, "ca_file": str(self.ca_file)}

    def renew(self, authority: Authority) -> None:
        """Replace certificate and key, each by a rename."""
        for source, target in zip(
            authority.issue(self._address), (self.cert_file, self.key_file), strict=True
        ):
            _replace(target, source.read_bytes())

    def trust(self, *authorities: Authority) -> None:
        """Replace the CA file."""
        _replace(self.ca_file, b"".join(one.ca_file.read_bytes() for one in authorities))


def _replace(target: Path, content: bytes) -> None:
    draft = target.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(target)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
