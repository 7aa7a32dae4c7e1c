"""A provider's refusal of a central key."""

from collections.abc import Callable
from dataclasses import dataclass

from authz.secret import Secret


@dataclass(frozen=True, slots=True)
class Requester:
    """The sender of a request that a provider refused, for the log and to tell people apart.

    Attributes:
        user_id: empty for a token without a known user. One person may have many such tokens, so
            two of them may be one person.
        user: the name, for the log.
    """

    user_id: str = ""
    token_id: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal that starts a cooldown, or makes the last available key suspect.

    Attributes:
        index: the place of the key in its pool.
        key: the refused key.
        status: 429 or 401.
        seconds: the length of the cooldown from now on.
        requester: the sender of the request.
        is_confirmed: whether the provider refused requests of two people, so that also the last
            available key gets the cooldown.
    """

    index: int
    key: Secret
    status: int
    seconds: float
    requester: Requester = Requester()
    is_confirmed: bool = False


OnRefused = Callable[[str, Refusal], None]
"""Takes the provider and the refusal."""
