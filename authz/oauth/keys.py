"""Read the signing keys of an issuer (JWKS, RFC 7517), and choose the one that a JWT names."""

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from authz.fetcher import IssuerUnavailable

Key = RSAKey | ECKey | OKPKey
_RSA_BITS = range(2048, 16384 + 1)
"""Shorter keys can be broken, and longer ones take long to use."""


def read_keys(document: object) -> list[Key]:
    """Return the public signing keys of a JWKS document.

    Keys of other kinds are skipped, as RFC 7517 section 5 asks: symmetric keys, keys for
    encryption, RSA keys below 2048 bits, and keys that can't be read.

    Raises:
        IssuerUnavailable: the document has no list of keys, or none that can be used.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise IssuerUnavailable("the JWKS document has no list of keys")
    keys = [key for key in map(_read_key, entries) if key is not None]
    if not keys:
        raise IssuerUnavailable("the JWKS document has no key that can be used")
    return keys


def _read_key(entry: object) -> Key | None:
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if entry.get("use", "sig") != "sig":
        return None
    try:
        # Asked before the import, which warns of short keys.
        if entry["kty"] == "RSA" and _bits(entry) not in _RSA_BITS:
            return None
        key = JWKRegistry.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _bits(entry: Mapping[str, Any]) -> int:
    modulus = entry["n"]
    return int.from_bytes(urlsafe_b64decode(modulus.encode()), "big").bit_length()


def choose(keys: list[Key], header: Mapping[str, Any]) -> Key | None:
    """Return the key that the header of a JWT names by ``kid``, or None.

    A key is used for its own kind of signature only, and for no other ``alg`` than its own.
    """
    kid, algorithm = header.get("kid"), header["alg"]
    usable = [
        key for key in keys if key.get("alg", algorithm) == algorithm and _signs(key, algorithm)
    ]
    if kid is not None:
        return next((key for key in usable if key.get("kid") == kid), None)
    # Without a name there must be no doubt.
    return usable[0] if len(usable) == 1 else None


def _signs(key: Key, algorithm: str) -> bool:
    """Return whether a key is of the kind that an algorithm needs."""
    if algorithm[0] in "RP":
        return isinstance(key, RSAKey)
    return isinstance(key, ECKey if algorithm.startswith("ES") else OKPKey)
