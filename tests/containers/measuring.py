"""One event under load: how many requests failed, and how long recovery took."""

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.containers.events import Event
from tests.containers.stack import WAIT, Stack
from tests.support.load import Load
from tests.support.pair import wait_until
from tests.support.tokens import altered

CONNECTIONS = 4
PAUSE = 0.03
"""Seconds between two requests of a connection: about a hundred a second from all of them."""
REFUSED_PAUSE = 0.1
"""The same on one more connection, with a wrong token."""


@dataclass
class Result:
    """The effects of an event that clients saw.

    Attributes:
        failed: wrong answers by status; 0 is a connection that was cut.
        slowest: seconds that the slowest answer to a valid token took.
        recovery: seconds from the end of the repair to the first right answer.
        refusal: a 503 while the part was broken, and its headers, if the event has one.
    """

    total: int
    failed: Counter[int]
    slowest: float
    recovery: float
    allowed: int
    refusal: dict[str, str] = field(default_factory=dict)


def measure(stack: Stack, event: Event, seconds: float = 3.0) -> Result:
    """Let an event happen under load.

    Args:
        stack: with a token.
        event: what happens.
        seconds: how long it stays broken, if the event does not say so itself.
    """
    stack.wait_for(stack.token, 200)
    wrong = altered(stack.token)
    load = Load(stack.port, {stack.token: 200}, workers=CONNECTIONS, pause=PAUSE)
    # Few enough that authz does not slow their answers down, so that they hold up no other.
    refused = Load(stack.port, {wrong: 401}, workers=1, pause=REFUSED_PAUSE)
    refusal: dict[str, str] = {}
    with load.running(), refused.running():
        with event.happens(stack):
            if event.sees == "503":
                refusal = _refusal(stack)
            if event.sees not in ("outage", "start"):
                time.sleep(seconds)
        repaired = time.monotonic()
        stack.wait_for(stack.token, 200)
        recovery = time.monotonic() - repaired
        load.more(40, WAIT)
    return Result(
        total=load.total + refused.total,
        failed=Counter(load.failed) + Counter(refused.failed),
        slowest=load.slowest,
        recovery=recovery,
        allowed=refused.counts[wrong, 200],
        refusal=refusal,
    )


def _refusal(stack: Stack) -> dict[str, str]:
    found: dict[str, str] = {}

    def refused() -> bool:
        answer = stack.models(stack.token)
        if answer.status_code == 503:
            found.update(answer.headers)
        return bool(found)

    wait_until(refused, WAIT, "a 503")
    return found
