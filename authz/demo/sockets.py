"""OpenAI's Responses API over a WebSocket: a message asks, and each event is a message."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from authz.demo.errors import ProviderError, error_body
from authz.demo.recording import Visit, visit_of
from authz.demo.responses import ask, events
from authz.demo.sse import ABORT_AFTER, ERROR_AFTER

_BROKEN_OFF = 1011


def socket_routes(path: str) -> list[BaseRoute]:
    """Return the routes of a WebSocket at a path that is there for POST, too."""
    return [WebSocketRoute(path, _serve), Route(path, _no_socket)]


async def _serve(socket: WebSocket) -> None:
    visit: Visit = socket.state.visit
    await socket.accept()
    try:
        while True:
            await _answer(socket, visit, await socket.receive_text())
    except WebSocketDisconnect:
        return


async def _no_socket(request: Request) -> Response:
    # uvicorn has WebSockets only where a library for them is installed, as with the test extra.
    if request.headers.get("upgrade", "").lower() == "websocket":
        error = ProviderError(426, "The stand-in has no WebSockets without `websockets`.")
        visit = visit_of(request)
        return JSONResponse(error_body(visit.provider_type, visit.request_id, error), 426)
    raise HTTPException(405, headers={"Allow": "POST"})


async def _answer(socket: WebSocket, visit: Visit, text: str) -> None:
    try:
        script, response = ask(visit, _call(text))
    except ProviderError as error:
        await _fail(socket, visit, error)
        return
    sent = 0
    async for event in events(script, response):
        await socket.send_text(json.dumps(event, separators=(",", ":")))
        sent += 1
        if script.ending == "abort" and sent == ABORT_AFTER:
            await socket.close(_BROKEN_OFF)
            raise WebSocketDisconnect(_BROKEN_OFF)
        if script.ending == "error" and sent == ERROR_AFTER:
            await _fail(socket, visit, ProviderError(500))
            return


def _call(text: str) -> dict[str, Any]:
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        raise ProviderError(400, "The message is not valid JSON.") from None
    if not isinstance(call, dict) or call.get("type") != "response.create":
        raise ProviderError(400, "Expected an event of type 'response.create'.", param="type")
    return {**call, "stream": True}


async def _fail(socket: WebSocket, visit: Visit, error: ProviderError) -> None:
    body = error_body(visit.provider_type, visit.request_id, error)
    await socket.send_text(json.dumps({"type": "error", "status": error.status, **body}))
