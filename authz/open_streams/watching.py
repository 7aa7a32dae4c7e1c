"""Asks again about every request in progress, and ends those that would be refused now.

Envoy opens a gRPC stream for each request before it asks whether the request may pass, and keeps
it until the request is over. So authz knows what is open, and can end it at any time. The question
is the same as before: the code that lets requests in decides, too, which of them must end.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from authz.check.ext_authz import BadCheck, Check
from authz.check.recheck import Recheck
from authz.check.responses import refusal
from authz.core.decision_types import Deny
from authz.core.providers import ErrorShape
from authz.errors import IdentityUnavailable
from authz.open_streams.messages import GO_ON, Kind, end, kind_of, read
from authz.open_streams.metrics import StreamMetrics

_log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
"""The time between two looks at all requests in progress."""
AT_ONCE = 200
"""Questions between two turns of the event loop, so that no check waits long."""
_ENDING = (401, 403, 407)
"""The statuses of refusals that are about the token, its user or a rule. Others pass by: a request
that has begun does not need a central key any more, for example."""

Ask = Callable[[Check], Awaitable[Recheck]]
"""Raises ``IdentityUnavailable`` if the identity source does not answer."""


@dataclass(slots=True, eq=False, repr=False)
class _Asked:
    """Requests in progress with the same question.

    Attributes:
        check: the question; None until it is read.
        until: the end of the token in seconds since the epoch; None before the first answer.
    """

    route: str
    message: bytes
    requests: "set[_Request]" = field(default_factory=set)
    check: Check | None = None
    until: float | None = None


class _Request:
    """One request in progress: the conversation of its gRPC stream."""

    __slots__ = ("_owner", "_route", "asked", "send")

    def __init__(self, owner: "OpenStreams", route: str, send: Callable[[bytes], None]) -> None:
        self._owner = owner
        self._route = route
        self.send = send
        self.asked: _Asked | None = None

    def receive(self, message: bytes) -> bytes | None:
        """Let Envoy go on; see ``Conversation``."""
        kind = kind_of(message)
        if kind is None:
            return None
        if kind is Kind.REQUEST_HEADERS and self.asked is None:
            self.asked = self._owner._add(self, self._route, message)
        return GO_ON[kind]

    def ended(self) -> None:
        """Forget the request; see ``Conversation``."""
        if self.asked is not None:
            self._owner._remove(self, self.asked)


class OpenStreams:
    """The requests in progress of one authz process.

    Args:
        ask: asks again whether a request may pass.
        state: returns an object that is the same (``==``) as long as no answer can have changed,
            apart from tokens that end; None if the identity source can't tell.
        metrics: count the requests.
        seconds: the time between two looks.
    """

    def __init__(
        self,
        ask: Ask,
        state: Callable[[], object | None],
        metrics: StreamMetrics,
        seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._ask = ask
        self._state = state
        self._metrics = metrics
        self._seconds = seconds
        self._asked: dict[tuple[str, bytes], _Asked] = {}
        self._seen: object | None = None
        self._is_failing = False

    def open(self, route: str, send: Callable[[bytes], None]) -> _Request:
        """Begin the conversation about a request (``BidiStream.open``)."""
        return _Request(self, route, send)

    async def run(self) -> None:
        """Look at all requests in progress again and again, until this is cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.sweep()
            except Exception as error:
                # We log the type alone, since a message could quote the request.
                _log.error("open streams not checked", error=type(error).__name__)

    async def sweep(self) -> None:
        """Ask about the requests whose answer may have changed, and end the refused ones."""
        state = self._state()
        now = time.time()
        is_same = state is not None and state == self._seen
        due = [
            asked
            for asked in self._asked.values()
            if not is_same or asked.until is None or asked.until <= now
        ]
        complete = True
        for start in range(0, len(due), AT_ONCE):
            part = due[start : start + AT_ONCE]
            answers = await asyncio.gather(*map(self._answer, part))
            complete = complete and all(answers)
            await asyncio.sleep(0)
        # A change during the look has another state than the one before it.
        self._seen = state if complete else None

    async def _answer(self, asked: _Asked) -> bool:
        """Ask about one question; return whether there was an answer."""
        try:
            if asked.check is None:
                asked.check = read(asked.message, asked.route)
            answer = await self._ask(asked.check)
        except IdentityUnavailable as error:
            # An outage is no revocation. New requests get 503 meanwhile.
            if not self._is_failing:
                _log.warning("open streams not checked", why=str(error))
            self._is_failing = True
            return False
        except BadCheck as error:
            _log.error("open stream not understood: render Envoy's configuration", why=str(error))
            return True
        except Exception as error:
            # We log the type alone, since a message could quote the request.
            _log.error("open stream not checked", error=type(error).__name__)
            return False
        self._is_failing = False
        asked.until = answer.until
        if answer.refusal is not None and answer.refusal.status in _ENDING:
            self._end(asked, answer.refusal, answer.shape)
        return True

    def _end(self, asked: _Asked, refused: Deny, shape: ErrorShape) -> None:
        message = end(refusal(refused, shape, ""), f"authz_{refused.reason}")
        requests = tuple(asked.requests)
        for request in requests:
            request.send(message)
            self._remove(request, asked)
        if requests:
            self._metrics.ended(str(refused.reason), len(requests))
            _log.info(
                "open streams ended",
                reason=str(refused.reason),
                streams=len(requests),
                token_id=refused.token_id,
                user=refused.identity.name if refused.identity else None,
            )

    def _add(self, request: _Request, route: str, message: bytes) -> _Asked:
        key = route, message
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked(route, message)
        asked.requests.add(request)
        self._metrics.opened()
        return asked

    def _remove(self, request: _Request, asked: _Asked) -> None:
        if request in asked.requests:
            asked.requests.remove(request)
            self._metrics.closed()
            if not asked.requests:
                self._asked.pop((asked.route, asked.message), None)
