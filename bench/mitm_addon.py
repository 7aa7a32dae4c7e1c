"""The add-on with which mitmproxy does the proxy's job: check the token, set the central key.

Loaded by ``mitmdump`` in its own environment, so it imports nothing of this project. A dictionary
stands for the look-up, which favours mitmproxy.
"""

import base64
import os

from mitmproxy import http

_TOKENS = {os.environ["BENCH_TOKEN"]: "bench"}
_KEY = os.environ["BENCH_CENTRAL_KEY"]
_PORT = int(os.environ["BENCH_UPSTREAM_PORT"])
_trusted: set[str] = set()


def http_connect(flow: http.HTTPFlow) -> None:
    """Check the password of a CONNECT."""
    scheme, _, encoded = flow.request.headers.get("proxy-authorization", "").partition(" ")
    password = base64.b64decode(encoded).decode().partition(":")[2]
    if scheme.lower() != "basic" or password not in _TOKENS:
        flow.response = http.Response.make(407, b"", {"proxy-authenticate": "Basic"})
        return
    _trusted.add(flow.client_conn.id)


def request(flow: http.HTTPFlow) -> None:
    """Set the central key and send the request to the provider."""
    if flow.client_conn.id not in _trusted:
        flow.response = http.Response.make(401)
        return
    for name in ("authorization", "proxy-authorization"):
        flow.request.headers.pop(name, None)
    flow.request.headers["x-api-key"] = _KEY
    flow.request.scheme, flow.request.host, flow.request.port = "http", "127.0.0.1", _PORT


def client_disconnected(client: object) -> None:
    """Forget a connection."""
    _trusted.discard(getattr(client, "id", ""))
