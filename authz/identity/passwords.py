"""Passwords: their rule, and their argon2id hashes (RFC 9106)."""

from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from authz.secret import Secret

MIN_LENGTH, MAX_LENGTH = 8, 128
"""In characters. Coder's shortest; the longest keeps hashing bounded."""

_HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


def check_password(password: Secret, username: str) -> str | None:
    """Say what is wrong with a new password; None when nothing is. It does not quote it."""
    text = password.reveal()
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        return f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters"
    if not text.isprintable():
        return "a password has printable characters only"
    if text.casefold() == username.casefold() or len(set(text)) < 4:
        return "this password is too easy to guess"
    return None


def hash_password(password: Secret) -> bytes:
    """Return what is stored of a password; takes some 50 ms and 64 MiB.

    The text names its parameters, so that they can be raised later.
    """
    return _HASHER.hash(_encoded(password)).encode()


def proves_password(password: Secret, hashed: bytes | None) -> bool:
    """Compare a password with a stored hash, in the same time whether there is one or not.

    Args:
        password: what was given.
        hashed: empty for a user without a password, None for no user: never proven.
    """
    # Made at the first use, whoever that is about: else the first unknown name would take longer.
    nobodys = _nobodys()
    stored = hashed or nobodys
    try:
        _HASHER.verify(stored, _encoded(password))
    except (VerificationError, InvalidHashError):
        return False
    return bool(hashed)


def _encoded(password: Secret) -> bytes:
    # What is no UTF-8 is no password of anybody; too long a one is not hashed whole.
    return password.reveal()[: MAX_LENGTH + 1].encode("utf-8", "surrogatepass")


@lru_cache(maxsize=1)
def _nobodys() -> bytes:
    return hash_password(Secret("the password of nobody"))
