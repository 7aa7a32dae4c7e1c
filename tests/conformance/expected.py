"""The request matrix as data, and the expected result of each cell, as plain rules.

This module states the rules of ``docs/coder.md`` a second time and imports nothing from authz, so
that a mistake in one of the two is noticed.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

KINDS = ("none", "alice", "bob", "expired", "deleted", "malformed", "provider key")
TYPES = ("anthropic", "openai", "chatgpt", "copilot")
"""Names of providers in the tests' ``gateway.yaml``; each is also the name of a type."""

CODER_TOKENS = ("alice", "bob", "expired", "deleted")
"""Kinds that have a Coder token's shape."""
GOOD_TOKENS = ("alice", "bob")

OWN_SOURCES = {
    "anthropic": ("x-api-key", "authorization"),
    "openai": ("authorization",),
    "chatgpt": ("authorization",),
    "copilot": ("authorization",),
}
"""Headers that may carry the user's own credential, by precedence."""

CENTRAL_SOURCES = {"anthropic": "x-api-key", "openai": "authorization"}
"""The header of the central key, for providers that have one."""


@dataclass(frozen=True)
class Cell:
    """One request of the matrix: the value of each header, the policy, and the provider."""

    governance: str
    authorization: str
    x_api_key: str
    byok: bool
    provider: str

    @property
    def name(self) -> str:
        """The cell as a header value, by which the provider's request is found."""
        fields = (self.governance, self.authorization, self.x_api_key, self.byok, self.provider)
        return "/".join(str(field) for field in fields).replace(" ", "-")


@dataclass(frozen=True)
class Refused:
    """The gateway refuses the request; the provider does not see it."""

    status: int
    error_type: str
    code: str


@dataclass(frozen=True)
class Forwarded:
    """The provider gets the request with one credential.

    Attributes:
        header: the only credential header.
        source: the origin of the credential: ``central``, or the kind in the cell's ``header``.
    """

    header: str
    source: str

    @property
    def mode(self) -> Literal["centralized", "byok"]:
        """The mode as the access log names it."""
        return "centralized" if self.source == "central" else "byok"


def cells() -> Iterator[Cell]:
    """Every combination: 7 x 7 x 7 x 2 x 4 = 2744."""
    for governance, authorization, x_api_key, byok, provider in itertools.product(
        KINDS, KINDS, KINDS, (True, False), TYPES
    ):
        yield Cell(governance, authorization, x_api_key, byok, provider)


def expected(cell: Cell) -> Refused | Forwarded:
    """Return the expected result of a cell."""
    own = _own(cell)
    if own is not None and not cell.byok:
        return Refused(403, "permission_error", "byok_disabled")
    places = [cell.governance]
    if cell.governance == "none":
        places = [cell.authorization, cell.x_api_key]
    if {*places} == {"none"}:
        return Refused(401, "authentication_error", "token_missing")
    # A value without a token's form, beside one with it, is not meant as the token.
    presented = [kind for kind in places if kind in CODER_TOKENS]
    if not presented or presented[0] not in GOOD_TOKENS:
        return Refused(401, "authentication_error", "token_invalid")
    if own is not None:
        return own
    if cell.provider in CENTRAL_SOURCES:
        return Forwarded(CENTRAL_SOURCES[cell.provider], "central")
    return Refused(401, "authentication_error", "credential_required")


def _own(cell: Cell) -> Forwarded | None:
    """Return the use of the own credential, or None, as without a governance header."""
    if cell.governance == "none":
        return None
    for header in OWN_SOURCES[cell.provider]:
        kind = cell.authorization if header == "authorization" else cell.x_api_key
        # A malformed token has no token's shape, so it may be an unknown kind of key.
        if kind != "none" and kind not in CODER_TOKENS:
            return Forwarded(header, kind)
    return None
