"""Gates: further rules that a request must satisfy after its token and its route allow it."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from authz.core.decision_types import Deny
from authz.core.declared import DeclaredRequest
from authz.core.identity import Identity
from authz.core.rules import Mode


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that is allowed so far.

    Attributes:
        identity: the owner of its token.
        request_id: the id that authz gave it; no client can choose it.
        declared: what it says about its model; None where no rule asks.
    """

    identity: Identity
    provider: str
    mode: Mode
    request_id: str
    declared: DeclaredRequest | None = None


Answer: TypeAlias = Deny | None
"""The refusal of a request; None lets it pass."""


class Gate(Protocol):
    """A rule that counts requests or looks at them, such as the budgets."""

    def admit(self, request: Admission) -> Answer | Awaitable[Answer]:
        """Return the answer, or an awaitable of it if a database has to be asked first.

        A gate that refuses has taken nothing. An error makes the request's answer a 503.
        """
        ...

    def give_back(self, request: Admission) -> None:
        """Free what ``admit`` took for a request that does not pass after all.

        It neither waits nor raises. It is called if another gate refuses the request, and if
        ``admit`` failed or was cancelled.
        """
        ...
