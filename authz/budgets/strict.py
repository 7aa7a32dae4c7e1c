"""The most that a request can cost, from what it declares."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from authz.budgets.money import MAXIMUM
from authz.core.admission import Admission
from authz.core.decision_types import Deny, refuse
from authz.core.declared import NO_MODEL
from authz.core.refusals import Reason
from authz.core.tokens import without_tokens
from authz.printable import printable

_SHOWN = 100

AtMost = Callable[[str, str, int, int, int], int | None]
"""Takes the provider, the model, input and output tokens, and the time in milliseconds.

It returns a bound in nano-dollars, or None for a model without a price.
"""


@dataclass(frozen=True, slots=True)
class Strict:
    """Computes reservations that no request exceeds.

    Attributes:
        at_most: the prices.
        max_output_tokens: assumed for a request without a limit; None refuses it.
        unseen_input_tokens: added for what a provider adds to the text of a request.
        refuses_unpriced: returns whether to refuse models without a price.
        clock: returns the time in seconds.
    """

    at_most: AtMost
    max_output_tokens: int | None = None
    unseen_input_tokens: int = 0
    refuses_unpriced: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.time

    def most(self, request: Admission) -> int | Deny | None:
        """Return the most that a request can cost, or its refusal.

        Returns:
            Nano-dollars, 0 for a request that no model answers; None where the usual cost has to
            do, because the model has no price.
        """
        declared = request.declared
        if declared is NO_MODEL:
            return 0
        if declared is None or declared.problem or declared.input_bytes is None:
            problem = declared.problem if declared is not None else ""
            return _refused(request, Reason.MODEL_UNKNOWN, problem=problem or _UNREAD)
        output = declared.max_output_tokens
        if output is None:
            output = self.max_output_tokens
        if output is None:
            return _refused(request, Reason.OUTPUT_UNLIMITED)
        # A token has at least one byte.
        input_tokens = declared.input_bytes + self.unseen_input_tokens
        now_ms = int(self.clock() * 1000)
        most = self.at_most(request.provider, declared.model, input_tokens, output, now_ms)
        if most is not None:
            return min(most, MAXIMUM)
        if not self.refuses_unpriced():
            return None
        model = printable(without_tokens(declared.model), _SHOWN)
        return _refused(request, Reason.MODEL_UNPRICED, model=model)


_UNREAD = "This gateway has to know the model of each request, and can't read this one."


def _refused(request: Admission, reason: Reason, **fields: object) -> Deny:
    return refuse(reason, fields, request.identity, request.identity.token_id)
