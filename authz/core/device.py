"""The codes of the device flow (RFC 8628) and its refresh tokens: made, read and derived."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from authz.core.tokens import ALPHABET, ID_LENGTH, SECRET_LENGTH, hash_secret

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""RFC 8628 section 6.1: without vowels, so that no code is a word."""
CODE_LENGTH = 8
_DEVICE_CODE_BYTES = 32
_SIZE = len(ALPHABET)


def new_device_code() -> str:
    """Return a device code of 256 bits, which only the waiting client knows."""
    return secrets.token_urlsafe(_DEVICE_CODE_BYTES)


def new_user_code() -> str:
    """Return the code that a person compares or types, without its hyphen."""
    return "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))


def shown_user_code(code: str) -> str:
    """Return a user code as people read it: ``WDJB-MJHT``."""
    return f"{code[:4]}-{code[4:]}"


def read_user_code(text: str) -> str | None:
    """Return the code that a person typed, without hyphens, spaces and lower case, or None."""
    code = "".join(text.split()).replace("-", "").upper()
    return code if len(code) == CODE_LENGTH and not set(code) - set(LETTERS) else None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token: ``<id>.<family>.<secret>``.

    A replacement has the same id and family and another secret. So a client that sends a known
    family with a secret that is not the current one has an earlier token of the same sign-in.

    Attributes:
        id: of the access token's record.
        family: 22 random characters that all tokens of one sign-in share.
        secret: 22 characters that only this token has.
    """

    id: str
    family: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The token as the client gets it."""
        return f"{self.id}.{self.family}.{self.secret}"

    @property
    def family_digest(self) -> bytes:
        """The digest of the family, to store."""
        return hash_secret(self.family)

    @property
    def digest(self) -> bytes:
        """The digest of the secret, to store."""
        return hash_secret(self.secret)

    def next(self, seed: bytes) -> tuple["RefreshToken", str]:
        """Return the token that replaces this one, and the secret of the new access token.

        Both are derived, so that a client that lost the answer gets the same one again, though the
        store has only digests. The store alone, without the token, does not suffice, nor does the
        token without the store.

        Args:
            seed: random bytes in the store.
        """
        access = _derive(seed, self.secret, b"authz device: access token")
        secret = _derive(seed, self.secret, b"authz device: refresh token")
        return RefreshToken(self.id, self.family, secret), access


def new_refresh_token(token_id: str) -> RefreshToken:
    """Return the first refresh token of a sign-in."""
    return RefreshToken(token_id, _random(), _random())


def read_refresh_token(text: str) -> RefreshToken | None:
    """Return the refresh token that a client sent, or None."""
    parts = text.split(".")
    if [len(part) for part in parts] != [ID_LENGTH, SECRET_LENGTH, SECRET_LENGTH]:
        return None
    if set(text) - set(ALPHABET) - {"."}:
        return None
    return RefreshToken(*parts)


def device_digest(device_code: str) -> bytes:
    """Return the digest of a device code, to store."""
    return hashlib.sha256(device_code.encode()).digest()


def _random() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))


def _derive(seed: bytes, secret: str, purpose: bytes) -> str:
    # 512 bits for 131, so that each character is as likely as any other.
    number = int.from_bytes(hmac.digest(seed, purpose + b"\0" + secret.encode(), "sha512"))
    characters = []
    for _ in range(SECRET_LENGTH):
        number, index = divmod(number, _SIZE)
        characters.append(ALPHABET[index])
    return "".join(characters)
