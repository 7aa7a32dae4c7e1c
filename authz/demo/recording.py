"""What the stand-in knows of one request."""

import secrets
from dataclasses import dataclass, field

from starlette.requests import Request

from authz.demo.accounts import Credential


@dataclass(frozen=True)
class Seen:
    """A request as it reached the provider, for whoever looks on.

    Attributes:
        provider: the mount's name; empty when the request fits no mount.
        method: the HTTP method.
        path: what follows the mount, as received (still percent-encoded).
        query: the raw query string.
        headers: names (lower-cased) and values, in order, repeated ones included.
        credential_header: the header the credential was read from, or None.
        credential: the credential, right or wrong, or None.
    """

    provider: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]] = field(repr=False)
    credential_header: str | None
    credential: str | None = field(repr=False)

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        return [value for key, value in self.headers if key == name.lower()]


@dataclass(frozen=True)
class Visit:
    """A request that passed the door: who came, to which provider, and how fast to answer."""

    provider_type: str
    request_id: str
    credential: Credential
    chunk_delay: float


def visit_of(request: Request) -> Visit:
    """Return the visit that the door noted on the request."""
    visit: Visit = request.state.visit
    return visit


def new_id(prefix: str) -> str:
    """Return a fresh identifier such as `msg_5f…`."""
    return f"{prefix}_{secrets.token_hex(12)}"
