"""Leaf certificates for providers' hosts, in files that Envoy watches (file SDS)."""

import datetime
import ipaddress
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from authz.certificates.ca import CLOCK_SKEW, CertificateAuthority, certificate_pem, private_pem
from authz.files import write_whole

LEAF_LIFETIME = datetime.timedelta(days=30)
RENEW_BEFORE = datetime.timedelta(days=10)
_SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105


def leaf_file(folder: Path, host: str) -> Path:
    """Return the file with the certificate of ``host``.

    Each file has a folder of its own, because a rename makes Envoy read all watched files in the
    folder again.
    """
    return folder / host.replace(":", "_") / "sds.yaml"


def ensure_leaf(authority: CertificateAuthority, folder: Path, host: str) -> bool:
    """Create the certificate of ``host`` unless there is a valid one.

    The file has the chain and the key, with mode 0600. It is replaced by a rename, and Envoy then
    loads it without a restart and without closing connections.

    Args:
        authority: signs the certificate.
        folder: the folder for leaf certificates.
        host: a host name or address in lower case.

    Returns:
        True if a certificate was created, because there was none, it expires soon, or another CA
        signed it.

    Raises:
        OSError: the file can't be written.
    """
    path = leaf_file(folder, host)
    if _is_good(path, authority):
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    leaf, key = _mint(authority, host)
    # Clients trust a self-signed root, but need the intermediate certificates.
    chain = [leaf, *(c for c in authority.chain if c.issuer != c.subject)]
    secret = {
        "@type": _SECRET_TYPE,
        "name": host,
        "tls_certificate": {
            "certificate_chain": {"inline_string": "".join(map(certificate_pem, chain))},
            "private_key": {"inline_string": private_pem(key)},
        },
    }
    write_whole(path, yaml.safe_dump({"resources": [secret]}), 0o600)
    return True


def _is_good(path: Path, authority: CertificateAuthority) -> bool:
    try:
        resource = yaml.safe_load(path.read_text())["resources"][0]
        pem = resource["tls_certificate"]["certificate_chain"]["inline_string"]
        leaf = x509.load_pem_x509_certificates(pem.encode())[0]
        leaf.verify_directly_issued_by(authority.certificate)
    except Exception:
        # The file is missing, damaged, or signed by another CA, so a new one is created.
        return False
    return leaf.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + RENEW_BEFORE


def _mint(
    authority: CertificateAuthority, host: str
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    issuer = authority.certificate
    certificate = (
        x509.CertificateBuilder()
        # A common name has at most 64 characters; clients use the alternative name only.
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - CLOCK_SKEW, issuer.not_valid_before_utc))
        .not_valid_after(min(now + LEAF_LIFETIME, issuer.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_key_identifier(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate, key


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        extension = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        public_key = issuer.public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)  # noqa: S101
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)
