"""Asks gates in turn whether a request may pass."""

import asyncio
from collections.abc import Coroutine, Sequence

from authz.core.admission import Admission, Answer, Gate
from authz.core.decision_types import Deny


class Gates:
    """All gates of a service, in the order in which they are asked.

    Args:
        gates: those that take nothing come first, since a refusal gives back what the gates
            before it have taken.
        leaves_caller: whether the caller runs a check without a task as long as it does not wait.
    """

    def __init__(self, gates: Sequence[Gate], *, leaves_caller: bool) -> None:
        self._gates = tuple(gates)
        self._leaves_caller = leaves_caller

    def __bool__(self) -> bool:
        """Return whether there are any gates."""
        return bool(self._gates)

    async def admit(self, request: Admission) -> Answer:
        """Return None if every gate lets the request pass, or the first refusal."""
        asked: list[Gate] = []
        refusal: Answer = None
        in_task = not self._leaves_caller
        try:
            for gate in self._gates:
                asked.append(gate)
                answer = gate.admit(request)
                if answer is None or isinstance(answer, Deny):
                    refusal = answer
                else:
                    if not in_task:
                        await _move_to_task(answer)
                        in_task = True
                    refusal = await answer
                if refusal is not None:
                    # The gate that refuses has taken nothing.
                    asked.pop()
                    break
            else:
                asked.clear()
            return refusal
        finally:
            for gate in asked:
                gate.give_back(request)


async def _move_to_task(answer: object) -> None:
    """Let the caller go on with this coroutine in a task."""
    try:
        await asyncio.sleep(0)
    except BaseException:
        if isinstance(answer, Coroutine):
            # Otherwise Python would complain that it was never awaited.
            answer.close()
        raise
