"""The cookie that binds a sign-in at an OpenID provider to the browser that began it.

It holds one random secret. State, nonce and PKCE verifier are derived from it, so a code or a
response that was made for another browser fits to none of them, and no replica stores anything.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

SECONDS = 600
"""The time for signing in at the provider."""
_VALUE = re.compile(
    r"([0-9A-Za-z_-]{43})\.([1-9][0-9]{0,11})\.([a-z0-9-]{1,32})\.([a-zA-Z0-9/_-]{0,512})"
)


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that has begun.

    Attributes:
        secret: 256 random bits that only this browser has.
        began_at: the time in Unix seconds.
        provider: the name of the OpenID provider.
        next_path: the page to show afterwards; may be empty.
    """

    secret: str
    began_at: int
    provider: str
    next_path: str

    @classmethod
    def begin(
        cls, provider: str, next_path: str, clock: Callable[[], float] = time.time
    ) -> "Pending":
        """Return a new sign-in."""
        return cls(secrets.token_urlsafe(32), int(clock()), provider, next_path)

    @classmethod
    def read(cls, value: str, clock: Callable[[], float] = time.time) -> "Pending | None":
        """Return the sign-in of a cookie, or None if it is malformed or too old."""
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        began_at = int(match[2])
        if not 0 <= clock() - began_at <= SECONDS:
            return None
        return cls(match[1], began_at, match[3], match[4])

    def write(self) -> str:
        """Return the value of the cookie."""
        return f"{self.secret}.{self.began_at}.{self.provider}.{self.next_path}"

    @property
    def state(self) -> str:
        """The ``state`` of the authorization request (RFC 6749 section 10.12)."""
        return self._derive("state")

    @property
    def nonce(self) -> str:
        """The ``nonce`` of the ID token (OpenID Connect Core 1.0 section 3.1.2.1)."""
        return self._derive("nonce")

    @property
    def verifier(self) -> str:
        """The PKCE verifier (RFC 7636 section 4.1)."""
        return self._derive("verifier")

    @property
    def challenge(self) -> str:
        """The PKCE challenge of method S256."""
        return encode(hashlib.sha256(self.verifier.encode()).digest())

    def _derive(self, purpose: str) -> str:
        # The provider's name is part of it: a response of another provider does not fit.
        text = f"authz sign-in: {purpose}: {self.provider}: {self.began_at}"
        return encode(hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).digest())


def encode(digest: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
