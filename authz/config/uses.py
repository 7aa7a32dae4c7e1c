"""The secrets and certificates that a command uses, and the problems of these files.

A container has only the secrets of its task. So a command names what it uses, and only that has to
be there. No section of the configuration reads a file while it is validated.
"""

import json
import ssl
from collections.abc import Iterator
from enum import Flag, auto
from pathlib import Path
from typing import Any

from authz.config.fields import Tls
from authz.config.settings import Config
from authz.config.validation import known

# The purposes of a certificate (RFC 5280, section 4.2.1.12).
_CAN_SERVE = "1.3.6.1.5.5.7.3.1"
_CAN_ASK = "1.3.6.1.5.5.7.3.2"
_ANY_USE = "2.5.29.37.0"


class Uses(Flag):
    """The files and keys that a command uses beside ``gateway.yaml``."""

    NOTHING = 0
    KEYS = auto()
    """The central keys: their files, variables and commands."""
    PROXY_CA = auto()
    """The certificate and the private key of the proxy's CA, which ``authz proxy ca`` creates."""
    AUTHZ_FILES = auto()
    """The certificates of the authz process."""
    ENVOY_FILES = auto()
    """The certificates of the Envoy process."""
    NOTICES = auto()
    """The secrets and CA files of the receivers of notices."""
    AUTHZ = KEYS | PROXY_CA | AUTHZ_FILES | NOTICES
    EVERYTHING = AUTHZ | ENVOY_FILES


def broken_files(config: Config, uses: Uses) -> Iterator[str]:
    """Yield a message for each certificate file that can't be used, beginning with its key's path.

    Args:
        config: the configuration, which may be partial: invalid values are skipped.
        uses: the files to check.
    """
    if Uses.AUTHZ_FILES in uses:
        yield from _authorities("identity_ca_file", _at(config, "identity_ca_file"))
        yield from _served(config)
        yield from _issuers(config)
        valkey = _at(config, "limits", "shared", "ca_file")
        yield from _authorities("limits.shared.ca_file", valkey)
        yield from _authorities("export.ca_file", _at(config, "export", "ca_file"))
    if Uses.NOTICES in uses:
        for names in (("tokens", "notices"), ("notices",)):
            ca_file = _at(config, *names, "webhook", "ca_file")
            yield from _authorities(f"{'.'.join(names)}.webhook.ca_file", ca_file)
    if Uses.ENVOY_FILES in uses:
        yield from _presented(config)
    if uses & (Uses.AUTHZ_FILES | Uses.ENVOY_FILES):
        yield from _authorities("authz.tls.ca_file", _at(config, "authz", "tls", "ca_file"))
        yield from _authorities("tracing.ca_file", _at(config, "tracing", "ca_file"))


def unusable_authorities(path: Path) -> str | None:
    """Return the problem of a file of CA certificates, or None."""
    if problem := _unreadable(path):
        return problem
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return f"{path} holds no PEM certificates"
    return None


def _at(section: object, *names: str) -> Any:
    """Return the value at a path, or None if it is not set or not valid."""
    for name in names:
        section = getattr(section, name, None)
    return section


def _served(config: Config) -> Iterator[str]:
    """Yield the problems of the certificate that authz shows."""
    tls, client_tls = _at(config, "authz", "tls"), _at(config, "authz", "client_tls")
    problems = list(_pair("authz.tls", tls))
    yield from problems
    if tls is None or problems or not known(tls, "cert_file", "key_file"):
        return
    if not _may(tls.cert_file, _CAN_SERVE):
        yield "authz.tls.cert_file: is not valid for servers (extended key usage)"
    if client_tls is None and not _may(tls.cert_file, _CAN_ASK):
        yield (
            "authz.tls.cert_file: is not valid for clients (extended key usage): set another one "
            "for Envoy in client_tls"
        )


def _issuers(config: Config) -> Iterator[str]:
    """Yield the problems of the files that say which JWTs are valid."""
    for index, provider in enumerate(_at(config, "sign_in", "oidc") or ()):
        yield from _authorities(f"sign_in.oidc[{index}].ca_file", _at(provider, "ca_file"))
    for index, issuer in enumerate(_at(config, "sign_in", "machines", "issuers") or ()):
        where = f"sign_in.machines.issuers[{index}]"
        yield from _authorities(f"{where}.ca_file", _at(issuer, "ca_file"))
        path = _at(issuer, "jwks_file")
        if path is None:
            continue
        if problem := _unreadable(path):
            yield f"{where}.jwks_file: {problem}"
        elif not _holds_keys(path):
            yield f'{where}.jwks_file: must be a JWKS document: {{"keys": [...]}}'


def _holds_keys(path: Path) -> bool:
    """Return whether a file has a list of keys (RFC 7517 section 5)."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    keys = document.get("keys") if isinstance(document, dict) else None
    return isinstance(keys, list) and bool(keys)


def _presented(config: Config) -> Iterator[str]:
    """Yield the problems of the files that Envoy reads."""
    yield from _pair("tls", _at(config, "tls"))
    yield from _pair("proxy.tls", _at(config, "proxy", "tls"))
    for index, provider in enumerate(_at(config, "providers") or ()):
        yield from _authorities(f"providers[{index}].ca_file", _at(provider, "ca_file"))
    telemetry = _at(config, "sign_in", "claude_code", "telemetry", "ca_file")
    yield from _authorities("sign_in.claude_code.telemetry.ca_file", telemetry)
    client_tls = _at(config, "authz", "client_tls")
    if client_tls is None:
        yield from _pair("authz.tls", _at(config, "authz", "tls"))
        return
    problems = list(_pair("authz.client_tls", client_tls))
    yield from problems
    if problems or not known(client_tls, "cert_file", "key_file"):
        return
    if not _may(client_tls.cert_file, _CAN_ASK):
        yield "authz.client_tls.cert_file: is not valid for clients (extended key usage)"


def _pair(key: str, tls: Tls | None) -> Iterator[str]:
    """Yield the problems of a certificate and its private key, if they are set."""
    if tls is None:
        return
    unreadable = [
        f"{key}.{name}: {problem}"
        for name in ("cert_file", "key_file")
        if known(tls, name) and (problem := _unreadable(getattr(tls, name)))
    ]
    yield from unreadable
    if unreadable or not known(tls, "cert_file", "key_file"):
        return
    try:
        # An empty password keeps OpenSSL from asking for one on the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            tls.cert_file, tls.key_file, password=""
        )
    except (ssl.SSLError, OSError, ValueError):
        yield f"{key}: cert_file and key_file are not a matching PEM pair"


def _authorities(at: str, path: Path | None) -> Iterator[str]:
    """Yield the problem of a file of CA certificates, if it is set."""
    if path is not None and (problem := unusable_authorities(path)):
        yield f"{at}: {problem}"


def _unreadable(path: Path) -> str | None:
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return f"can't read {path}: {error.strerror}"


def _may(cert_file: Path, use: str) -> bool:
    """Return whether a certificate may be used for a purpose (RFC 5280, section 4.2.1.12)."""
    # Imported late: cryptography takes 8 MB, and most gateways have no certificate of their own.
    from cryptography import x509

    leaf = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return not {use, _ANY_USE}.isdisjoint(one.dotted_string for one in uses)
