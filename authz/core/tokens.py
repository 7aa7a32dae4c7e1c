"""Coder tokens, ``<id>-<secret>``: reads, generates and verifies them."""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field

from authz.secret import Secret

ID_LENGTH = 10
SECRET_LENGTH = 22
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
MAX_PER_USER = 1000
"""The tokens of a user that are valid at once, unless ``tokens.max_per_user`` says otherwise.

A person has a few. A script that creates one for each of its runs is stopped before the lists that
people read get slow.
"""
_TOKEN = re.compile(rf"([0-9A-Za-z]{{{ID_LENGTH}}})-([0-9A-Za-z]{{{SECRET_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class CoderToken:
    """A well-formed Coder token. Logs show the id and never the secret.

    Attributes:
        id: 10 characters, the primary key of the token's record.
        digest: SHA-256 of the 22-character secret, 32 bytes.
        text: the whole token, for a source that must pass it on.
    """

    id: str
    digest: bytes
    text: Secret | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"CoderToken(id={self.id!r})"


def parse(value: str) -> CoderToken | None:
    """Read a token.

    Args:
        value: of the header, without a scheme.

    Returns:
        The token, or None when the value is not a token. It also checks the characters, which
        Coder's own parser does not; every token that Coder generates passes.
    """
    match = _TOKEN.fullmatch(value)
    if match is None:
        return None
    return CoderToken(match[1], hash_secret(match[2]), Secret(value))


# Only white space and punctuation end a token: a provider's key in base64url may have parts of
# these lengths between its hyphens.
_WORD = re.compile(rf"(?<![\w-]){_TOKEN.pattern}(?![\w-])", re.ASCII)


def holds_token(text: str) -> bool:
    """Return whether one of the words of a text is a Coder token."""
    return _WORD.search(text) is not None


def has_token_shape(value: str) -> bool:
    """Return whether Coder's own, looser parser would accept the value as a token.

    No value of this shape goes to a provider, whatever its characters are.
    """
    parts = value.split("-")
    return len(parts) == 2 and len(parts[0]) == ID_LENGTH and len(parts[1]) == SECRET_LENGTH


def without_tokens(text: str) -> str:
    """Mask everything that looks like a Coder token in a text for a person."""
    return _TOKEN.sub(r"\1-...", text)


def generate() -> tuple[str, CoderToken]:
    """Generate a token from the system's CSPRNG.

    Returns:
        The text to show its owner once, and the token without its text, to store.
    """
    token_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
    text, digest = generate_for(token_id)
    return text, CoderToken(token_id, digest)


def generate_for(token_id: str) -> tuple[str, bytes]:
    """Generate a secret for a token's id; return the token's text and the secret's digest."""
    secret = "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    return f"{token_id}-{secret}", hash_secret(secret)


def hash_secret(secret: str) -> bytes:
    """Return the digest that Coder stores: SHA-256 of the secret alone, 32 bytes, no salt."""
    return hashlib.sha256(secret.encode()).digest()


def proves(token: CoderToken, hashed_secret: bytes) -> bool:
    """Return whether the token's digest is the stored one; compare in constant time."""
    return hmac.compare_digest(token.digest, hashed_secret)
