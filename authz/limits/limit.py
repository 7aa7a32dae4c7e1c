"""One limit, a request that it counts, and the interface of the places that count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class LimitKind(StrEnum):
    """The kinds of limits."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"


class Owner(StrEnum):
    """The kinds of owner whose requests a limit counts together."""

    USER = "user"
    GROUP = "group"
    TOKEN = "token"  # noqa: S105 - a kind, no secret
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit.

    Attributes:
        key: names what is counted, the same in every replica.
        most: requests or tokens of a minute, or requests at a time.
        owner: whose it is.
        name: of the owner, for a person.
    """

    key: str
    kind: LimitKind
    most: int
    owner: Owner
    name: str


def key_of(kind: LimitKind, owner: Owner, owner_id: str) -> str:
    """Return the key of a limit."""
    return f"{kind}:{owner}:{owner_id}"


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A request that wants to pass its limits.

    Attributes:
        request_id: the id that authz gave it; no client can choose it.
        limits: at least one.
    """

    request_id: str
    limits: tuple[Limit, ...]

    @property
    def settled(self) -> tuple[str, ...]:
        """The keys of the limits that count the end of the request."""
        return tuple(one.key for one in self.limits if one.kind is not LimitKind.REQUESTS)


@dataclass(frozen=True, slots=True)
class Passed:
    """Every limit had room for the request, which is counted now."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A limit has no room for the request, so no limit has counted it.

    Attributes:
        limit: of several limits without room, the one with the longest wait.
        wait_ms: the time until all of them have room again; 0 where that is not known.
    """

    limit: Limit
    wait_ms: int


Outcome = Passed | Reached
PASSED = Passed()

Settled = Mapping[str, int]
"""The tokens of requests that have ended, by the id of the request."""


class LimitStore(Protocol):
    """A place that counts. All times are its own.

    Raises:
        StoreError: it can't be used; one line without a secret.
    """

    async def admit(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        """Count each request that all its limits have room for, in the order of the batch."""
        ...

    async def settle(self, batch: Settled) -> None:
        """End requests, and count their tokens. A request that is not open is left out."""
        ...

    async def close(self) -> None:
        """Close connections and files."""
        ...
