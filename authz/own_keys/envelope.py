"""The encrypted form of a stored key: AES-256-GCM with a data key for each record.

The master key encrypts the data key, and the data key encrypts the provider's key. Both are bound
to the user and the provider of the record: an envelope that is copied to another record does not
open.

The functions import cryptography: it takes 8 MB, and most gateways store no keys.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from typing import TYPE_CHECKING

from authz.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_WRAPPED_BYTES = _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
_ENVELOPE = re.compile(r"v1\.([0-9a-f]{16})\.([0-9A-Za-z_-]{80})\.([0-9A-Za-z_-]{39,22000})")


class BadEnvelope(ValueError):  # noqa: N818 - the name says the subject
    """A text is not an envelope, or does not open; the message quotes nothing of it."""


class MasterKey:
    """A key that encrypts the data keys.

    Args:
        key: of ``KEY_BYTES`` bytes.

    Attributes:
        id: 16 hexadecimal digits, computed from the key; it tells nothing about the key.
    """

    __slots__ = ("_cipher", "id")

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.id = hmac.digest(key, b"authz own keys: key id", hashlib.sha256).hex()[:16]
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return f"MasterKey({self.id})"

    @classmethod
    def parse(cls, text: str) -> "MasterKey":
        """Read a master key: 32 bytes in base64, as ``openssl rand -base64 32`` prints them.

        Raises:
            ValueError: the text is not such a key; the message does not show it.
        """
        try:
            key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(
                "must be 32 random bytes in base64: create them with 'openssl rand -base64 32'"
            )
        return cls(key)

    def seal(self, secret: Secret, user_id: str, provider: str) -> str:
        """Return the envelope of a secret for the record of a user and a provider."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        wrapped = _encrypt(self._cipher, data_key, _record(b"data key", self.id, user_id, provider))
        sealed = _encrypt(
            AESGCM(data_key),
            secret.reveal().encode(),
            _record(b"provider key", self.id, user_id, provider),
        )
        return f"v1.{self.id}.{_text(wrapped)}.{_text(sealed)}"

    def open(self, envelope: str, user_id: str, provider: str) -> Secret:
        """Return the secret in the envelope of a record.

        Raises:
            BadEnvelope: the envelope is damaged, or was made with another key or for another
                record.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key_id, wrapped, sealed = _parts(envelope)
        if key_id != self.id:
            raise BadEnvelope("was encrypted with another master key")
        try:
            data_key = _decrypt(
                self._cipher, wrapped, _record(b"data key", key_id, user_id, provider)
            )
            secret = _decrypt(
                AESGCM(data_key), sealed, _record(b"provider key", key_id, user_id, provider)
            )
            return Secret(secret.decode())
        except (InvalidTag, ValueError):
            raise BadEnvelope("is damaged, or belongs to another record") from None


def key_id_of(envelope: str) -> str:
    """Return the id of the master key of an envelope.

    Raises:
        BadEnvelope: the text is not an envelope.
    """
    return _parts(envelope)[0]


def _parts(envelope: str) -> tuple[str, bytes, bytes]:
    match = _ENVELOPE.fullmatch(envelope)
    if match is None:
        raise BadEnvelope("is not an envelope of this version of authz")
    try:
        wrapped, sealed = (_bytes(match[number]) for number in (2, 3))
    except ValueError:
        raise BadEnvelope("is damaged") from None
    if len(wrapped) != _WRAPPED_BYTES:
        raise BadEnvelope("is damaged")
    return match[1], wrapped, sealed


def _record(purpose: bytes, key_id: str, user_id: str, provider: str) -> bytes:
    """Return the associated data; no field can hold a zero byte."""
    fields = (b"authz own key v1", purpose, key_id.encode(), user_id.encode(), provider.encode())
    if any(b"\0" in field for field in fields):
        raise ValueError("the id of a record has a zero byte")
    return b"\0".join(fields)


def _encrypt(cipher: "AESGCM", data: bytes, associated: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, associated)


def _decrypt(cipher: "AESGCM", data: bytes, associated: bytes) -> bytes:
    return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], associated)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # One text for each value, so that an envelope can't be changed and still open.
    if _text(data) != text:
        raise ValueError("not canonical")
    return data
