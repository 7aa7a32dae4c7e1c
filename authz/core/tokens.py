"""Coder tokens, ``<id>-<secret>``: shape, making and proof (``coder-contract.md`` 1.1, 1.2)."""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field

from authz.secret import Secret

ID_LENGTH = 10
SECRET_LENGTH = 22
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_TOKEN = re.compile(rf"([0-9A-Za-z]{{{ID_LENGTH}}})-([0-9A-Za-z]{{{SECRET_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class CoderToken:
    """A well-formed Coder token. The id is no secret (it is in logs); the secret never shows.

    Attributes:
        id: 10 characters, the primary key of the token's record.
        digest: SHA-256 of the 22-character secret, 32 bytes.
        text: the whole token as it was presented, for a source that has to pass it on.
    """

    id: str
    digest: bytes
    text: Secret | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"CoderToken(id={self.id!r})"


def parse(value: str) -> CoderToken | None:
    """Read a token.

    Args:
        value: what stood in the header, without a scheme.

    Returns:
        The token, or None when the value is not one. The character class is checked too, which
        is stricter than Coder's own parser and can't refuse a token that Coder made.
    """
    match = _TOKEN.fullmatch(value)
    if match is None:
        return None
    return CoderToken(match[1], hash_secret(match[2]), Secret(value))


# Only white space and punctuation ends a token: a provider's key in base64url may well have these
# lengths between its own hyphens.
_WORD = re.compile(rf"(?<![\w-]){_TOKEN.pattern}(?![\w-])", re.ASCII)


def holds_token(text: str) -> bool:
    """Say whether one of the words of a text is a Coder token."""
    return _WORD.search(text) is not None


def has_token_shape(value: str) -> bool:
    """Say whether Coder's own, looser parser would take the value for a token.

    Anything of this shape is kept away from a provider, whatever its characters are.
    """
    parts = value.split("-")
    return len(parts) == 2 and len(parts[0]) == ID_LENGTH and len(parts[1]) == SECRET_LENGTH


def without_tokens(text: str) -> str:
    """Replace what looks like a Coder token in a text for a person."""
    return _TOKEN.sub(r"\1-...", text)


def generate() -> tuple[str, CoderToken]:
    """Make a token from the system's CSPRNG.

    Returns:
        The text to show its owner once, and what may be kept.
    """
    token_id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_LENGTH))
    text, digest = generate_for(token_id)
    return text, CoderToken(token_id, digest)


def generate_for(token_id: str) -> tuple[str, bytes]:
    """Make a secret for a token's id; return the token's text and the digest of its secret."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH))
    return f"{token_id}-{secret}", hash_secret(secret)


def hash_secret(secret: str) -> bytes:
    """Return what Coder stores of a secret: SHA-256 of the secret alone, 32 bytes, no salt."""
    return hashlib.sha256(secret.encode()).digest()


def proves(token: CoderToken, hashed_secret: bytes) -> bool:
    """Compare in constant time the token's digest with the stored one."""
    return hmac.compare_digest(token.digest, hashed_secret)
