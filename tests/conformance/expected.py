"""The request matrix as data, and what has to become of each cell, as plain rules.

The rules are those of ``interface.md`` sections 5 and 6 and ``coder-contract.md`` 2.2 to 2.8, put
down a second time: nothing of authz is imported here, so that a slip in one of the two shows.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

KINDS = ("none", "alice", "bob", "expired", "deleted", "malformed", "provider key")
TYPES = ("anthropic", "openai", "chatgpt", "copilot")
"""Names of providers in the tests' ``gateway.yaml``; each stands for its type."""

CODER_TOKENS = ("alice", "bob", "expired", "deleted")
"""Kinds that have a Coder token's shape."""
GOOD_TOKENS = ("alice", "bob")

OWN_SOURCES = {
    "anthropic": ("x-api-key", "authorization"),
    "openai": ("authorization",),
    "chatgpt": ("authorization",),
    "copilot": ("authorization",),
}
"""Headers in which the user's own credential may stand, the one that wins first."""

CENTRAL_SOURCES = {"anthropic": "x-api-key", "openai": "authorization"}
"""The header of the central key, for providers that have one."""


@dataclass(frozen=True)
class Cell:
    """One request of the matrix: what stands in each place, the policy, and where it goes."""

    governance: str
    authorization: str
    x_api_key: str
    byok: bool
    provider: str

    @property
    def name(self) -> str:
        """The cell as a header value, to find it at the provider."""
        fields = (self.governance, self.authorization, self.x_api_key, self.byok, self.provider)
        return "/".join(str(field) for field in fields).replace(" ", "-")


@dataclass(frozen=True)
class Refused:
    """The gateway answers itself; the provider sees nothing."""

    status: int
    error_type: str
    code: str


@dataclass(frozen=True)
class Forwarded:
    """The provider gets the request with one credential.

    Attributes:
        header: the only credential header.
        source: whose credential: ``central``, or the kind that stands in ``header`` of the cell.
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
    """Say what becomes of a cell."""
    own = _own(cell)
    if own is not None and not cell.byok:
        return Refused(403, "permission_error", "byok_disabled")
    places = [cell.governance]
    if cell.governance == "none":
        places = [cell.authorization, cell.x_api_key]
    if {*places} == {"none"}:
        return Refused(401, "authentication_error", "token_missing")
    # What has no token's form beside one that has it was never meant to be the token.
    presented = [kind for kind in places if kind in CODER_TOKENS]
    if not presented or presented[0] not in GOOD_TOKENS:
        return Refused(401, "authentication_error", "token_invalid")
    if own is not None:
        return own
    if cell.provider in CENTRAL_SOURCES:
        return Forwarded(CENTRAL_SOURCES[cell.provider], "central")
    return Refused(401, "authentication_error", "credential_required")


def _own(cell: Cell) -> Forwarded | None:
    """Without a governance header, the other two are places of the Coder token."""
    if cell.governance == "none":
        return None
    for header in OWN_SOURCES[cell.provider]:
        kind = cell.authorization if header == "authorization" else cell.x_api_key
        # A malformed token is of no token's shape, so it may be a key of a kind we don't know.
        if kind != "none" and kind not in CODER_TOKENS:
            return Forwarded(header, kind)
    return None
