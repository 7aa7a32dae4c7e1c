"""The rule for passwords, and their argon2id hashes (RFC 9106)."""

from functools import lru_cache
from typing import TYPE_CHECKING

from authz.secret import Secret

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH, MAX_LENGTH = 8, 128
"""The limits in characters. The minimum is Coder's; the maximum limits the cost of hashing."""


def check_password(password: Secret, username: str) -> str | None:
    """Return the problem with a new password, or None. The text does not quote the password."""
    text = password.reveal()
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        return f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters"
    if not text.isprintable():
        return "a password has only printable characters"
    if text.casefold() == username.casefold() or len(set(text)) < 4:
        return "this password is too easy to guess"
    return None


def hash_password(password: Secret) -> bytes:
    """Return the hash of a password, which takes about 50 ms and 64 MiB.

    The hash contains its parameters, so that they can be raised later.
    """
    return _hasher().hash(_encoded(password)).encode()


def proves_password(password: Secret, hashed: bytes | None) -> bool:
    """Return whether a password matches a stored hash.

    The time does not depend on whether there is a hash.

    Args:
        password: the password that was given.
        hashed: empty for a user without a password, and None for an unknown user. Neither matches.
    """
    from argon2.exceptions import InvalidHashError, VerificationError

    # Computed in any case at the first call, or else the first unknown name would take longer.
    placeholder = _placeholder()
    stored = hashed or placeholder
    try:
        _hasher().verify(stored, _encoded(password))
    except (VerificationError, InvalidHashError):
        return False
    return bool(hashed)


def _encoded(password: Secret) -> bytes:
    # No stored password has surrogates or is longer than MAX_LENGTH.
    return password.reveal()[: MAX_LENGTH + 1].encode("utf-8", "surrogatepass")


@lru_cache(maxsize=1)
def _hasher() -> "PasswordHasher":
    # Imported late: most gateways have no passwords, and checks never need one.
    from argon2 import PasswordHasher
    from argon2.profiles import RFC_9106_LOW_MEMORY

    return PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


@lru_cache(maxsize=1)
def _placeholder() -> bytes:
    return hash_password(Secret("the password of an unknown user"))
