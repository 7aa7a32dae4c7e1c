"""The answer to a question that is asked again while a request is in progress."""

from dataclasses import dataclass
from math import inf

from authz.core.decision_types import Deny
from authz.core.providers import ErrorShape


@dataclass(frozen=True, slots=True)
class Recheck:
    """The answer that a request that was let in earlier would get now.

    Attributes:
        refusal: the refusal; None if it would pass.
        shape: the JSON format of errors.
        until: the end of the token in seconds since the epoch; infinite where it is unknown.
    """

    refusal: Deny | None
    shape: ErrorShape
    until: float = inf
