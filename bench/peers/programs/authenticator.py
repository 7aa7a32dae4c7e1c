"""The authenticator behind nginx ``auth_request``: plain ASGI, the cheapest in Python.

Run by uvicorn in its own environment, so it imports nothing of this project. A dictionary of hashes
stands for the look-up, which favours nginx: authz asks a database.
"""

import hashlib
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]

_USERS = {hashlib.sha256(os.environ["BENCH_TOKEN"].encode()).digest(): "bench"}
_KEY = os.environ["BENCH_CENTRAL_KEY"].encode()
_NO_BODY = {"type": "http.response.body", "body": b""}
_REFUSED = {"type": "http.response.start", "status": 401, "headers": []}
_ALLOWED = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"x-provider-key", _KEY), (b"content-length", b"0")],
}


async def app(
    scope: Message,
    _receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer 200 and the central key to a good token, else 401."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    token = values[0].removeprefix(b"Bearer ") if len(values) == 1 else b""
    known = hashlib.sha256(token).digest() in _USERS
    await send(_ALLOWED if known else _REFUSED)
    await send(_NO_BODY)
