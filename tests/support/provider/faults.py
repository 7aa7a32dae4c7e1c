"""Responses that are slow, fail or break off, as the name of the model asks for."""

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authz.demo.context import RequestContext
from authz.demo.errors import ErrorKind, ProviderError, error_body
from authz.demo.script import Script, compose
from authz.demo.sse import event

ABORT_AFTER = 3
ERROR_AFTER = 5
"""Events of a stream before it breaks off or turns into an error."""

_FAIL = re.compile(r"fail-(400|429|500|529)")
_SLOW = re.compile(r"slow-([1-9][0-9]{0,3})")
_KINDS = {
    429: ErrorKind(
        "rate_limit_error",
        "requests",
        "RESOURCE_EXHAUSTED",
        "This request would exceed the rate limit",
        "rate_limit_exceeded",
    ),
    529: ErrorKind("overloaded_error", "server_error", "UNAVAILABLE", "Overloaded"),
}


class BrokenOffError(Exception):
    """Raised in the middle of a response, so that the server drops the connection."""


@dataclass(frozen=True)
class FaultyScript(Script):
    """A script that may end badly.

    Attributes:
        wait: seconds before a response that is not streamed.
        ending: how the response ends.
    """

    wait: float = 0.0
    ending: Literal["whole", "abort", "error"] = "whole"


def failure(status: int, retry_after: int = 7) -> ProviderError:
    """Return the failure that the model name `fail-<status>` asks for."""
    headers = {"retry-after": str(retry_after)} if status == 429 else None
    return ProviderError(status, headers=headers, kind=_KINDS.get(status))


def compose_faulty(context: RequestContext, model: str, prompt: str, stream: bool) -> FaultyScript:
    """Return the script for a model: `slow-5`, `abort-midstream`, `error-midstream`, or any other.

    Raises:
        ProviderError: the model is called `fail-429` or the like.
    """
    if match := _FAIL.fullmatch(model):
        raise failure(int(match.group(1)))
    script = compose(context.credential, prompt, context.chunk_delay)
    if match := _SLOW.fullmatch(model):
        count = int(match.group(1))
        ticks = (f" Tick {number} of {count}." for number in range(2, count + 1))
        return FaultyScript((script.text, *ticks), delay=1.0, wait=count - 1.0)
    if model == "error-midstream":
        if not stream:
            raise failure(529)
        return FaultyScript(script.pieces, script.delay, ending="error")
    ending: Literal["whole", "abort"] = "abort" if model == "abort-midstream" else "whole"
    return FaultyScript(script.pieces, script.delay, ending=ending)


class FaultMiddleware:
    """ASGI middleware that lets HTTP responses follow a ``FaultyScript``."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`, whose requests have a context."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request a context that composes faulty scripts."""
        context: RequestContext = scope["state"]["context"]
        response = _FaultyResponse(context, scope["path"], send)
        scope["state"]["context"] = replace(context, composer=response.compose)
        await self._app(scope, receive, send if scope["type"] == "websocket" else response.send)


@dataclass
class _FaultyResponse:
    context: RequestContext
    path: str
    forward: Send
    script: FaultyScript = field(default=FaultyScript((), 0.0))
    is_stream: bool = False
    sent: int = 0
    is_over: bool = False

    def compose(
        self, context: RequestContext, model: str, prompt: str, stream: bool
    ) -> FaultyScript:
        self.script = compose_faulty(context, model, prompt, stream)
        self.is_stream = stream
        return self.script

    async def send(self, message: Message) -> None:
        if self.is_over:
            return
        is_half = not self.is_stream and self.script.ending == "abort"
        if message["type"] == "http.response.start":
            if not self.is_stream:
                await asyncio.sleep(0 if is_half else self.script.wait)
            if is_half:
                headers = message["headers"]
                message["headers"] = [pair for pair in headers if pair[0] != b"content-length"]
            await self.forward(message)
        elif is_half:
            await self.forward({**message, "body": b'{"id":', "more_body": True})
            await self._break_off()
        else:
            await self._send_part(message)

    async def _send_part(self, message: Message) -> None:
        await self.forward(message)
        self.sent += bool(message.get("body"))
        if not self.is_stream:
            return
        if self.script.ending == "abort" and self.sent == ABORT_AFTER:
            await self._break_off()
        if self.script.ending == "error" and self.sent == ERROR_AFTER:
            self.is_over = True
            await self.forward(
                {"type": "http.response.body", "body": self._error(), "more_body": False}
            )

    async def _break_off(self) -> None:
        # Proxies forward what they have when they next look: give them the time.
        await asyncio.sleep(self.script.delay)
        raise BrokenOffError

    def _error(self) -> bytes:
        kind, request_id = self.context.provider_type, self.context.request_id
        if kind == "anthropic":
            return event(error_body(kind, request_id, failure(529)))
        if self.path.endswith("/responses"):
            # Events are numbered from zero.
            error: dict[str, Any] = {
                "type": "error",
                "code": "server_error",
                "message": ProviderError(500).message,
                "param": None,
                "sequence_number": ERROR_AFTER,
            }
            return event(error)
        return event(error_body(kind, request_id, ProviderError(500)), named=False)
