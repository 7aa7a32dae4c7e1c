"""OpenAI's Responses API over a WebSocket: a message asks, and each event is a message."""

import json
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from authz.demo.context import RequestContext
from authz.demo.errors import ProviderError, error_body
from authz.demo.responses import events, respond
from tests.support.provider.faults import ABORT_AFTER, ERROR_AFTER, FaultyScript

_BROKEN_OFF = 1011


def socket_routes(path: str) -> list[BaseRoute]:
    """Return the route of a WebSocket at a path that also takes POST."""
    return [WebSocketRoute(path, _serve)]


async def _serve(socket: WebSocket) -> None:
    context: RequestContext = socket.state.context
    await socket.accept()
    try:
        while True:
            await _respond(socket, context, await socket.receive_text())
    except WebSocketDisconnect:
        return


async def _respond(socket: WebSocket, context: RequestContext, text: str) -> None:
    try:
        call = _call(text)
        script, response = respond(context, call)
    except ProviderError as error:
        await _fail(socket, context, error)
        return
    if call.get("generate") is False:
        # Codex sends this to warm a model up.
        response["output"] = []
    ending = script.ending if isinstance(script, FaultyScript) else "whole"
    sent = 0
    async for event in events(script, response):
        await socket.send_text(json.dumps(event, separators=(",", ":")))
        sent += 1
        if ending == "abort" and sent == ABORT_AFTER:
            await socket.close(_BROKEN_OFF)
            raise WebSocketDisconnect(_BROKEN_OFF)
        if ending == "error" and sent == ERROR_AFTER:
            await _fail(socket, context, ProviderError(500))
            return


def _call(text: str) -> dict[str, Any]:
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        raise ProviderError(400, "The message is not valid JSON.") from None
    if not isinstance(call, dict) or call.get("type") != "response.create":
        raise ProviderError(400, "Expected an event of type 'response.create'.", param="type")
    return {**call, "stream": True}


async def _fail(socket: WebSocket, context: RequestContext, error: ProviderError) -> None:
    body = error_body(context.provider_type, context.request_id, error)
    await socket.send_text(json.dumps({"type": "error", "status": error.status, **body}))
