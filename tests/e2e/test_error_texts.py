"""The texts of Envoy's own answers: plain sentences without Envoy's internals."""

import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests.support import raw
from tests.support.certificates import Authority
from tests.support.origin import Origin
from tests.support.pair import Pair, free_port, pair

_INTERNAL = re.compile(r"_reset_|upstream_|http1\.|http2\.|[a-z]+_[a-z]+_[a-z]+|OPENSSL|\{|rbac")


class Nonsense(Origin):
    """Answers with bytes that are not HTTP."""

    def _answer(self, connection: socket.socket, data: bytes) -> bytes:
        connection.sendall(b"nonsense\r\n\r\n")
        return b""


class Hanging(Origin):
    """Closes the connection instead of answering."""

    def _answer(self, connection: socket.socket, data: bytes) -> bytes:
        connection.shutdown(socket.SHUT_RDWR)
        return b""


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, dict[str, str]]]:
    """A pair whose providers fail in all kinds of ways, and the expected text for each."""
    folder = tmp_path_factory.mktemp("failing")
    right, wrong = Authority(folder, "right"), Authority(folder, "wrong")
    with (
        Nonsense("nonsense") as nonsense,
        Hanging("hanging") as hanging,
        Origin("tls", right.issue()) as tls,
        pair(start=False) as running,
    ):
        closed = free_port()
        key = {"file": str(running.folder / "anthropic.key")}
        no_certificate = f"the certificate of 127.0.0.1:{tls.port} can't be verified"
        cases = {
            "refused": (f"http://127.0.0.1:{closed}", f"connection refused by 127.0.0.1:{closed}"),
            "local": (f"http://localhost:{closed}", f"connection refused by 127.0.0.1:{closed}"),
            "nonsense": (
                f"http://127.0.0.1:{nonsense.port}",
                f"127.0.0.1:{nonsense.port} sent no valid HTTP",
            ),
            "hanging": (
                f"http://127.0.0.1:{hanging.port}",
                f"127.0.0.1:{hanging.port} closed the connection",
            ),
            "no-address": ("http://provider.invalid", "the host has no address"),
            "stranger": (f"https://127.0.0.1:{tls.port}", no_certificate),
            "no-tls": (
                f"https://127.0.0.1:{nonsense.port}",
                f"the TLS handshake with 127.0.0.1:{nonsense.port} failed",
            ),
        }
        for name, (url, _) in cases.items():
            provider = {"name": name, "type": "anthropic", "base_url": url, "key": key}
            if url.startswith("https:"):
                provider["ca_file"] = str(wrong.ca_file)
            running.settings["providers"].append(provider)
        running.start()
        running.create_user("alice")
        yield running, {name: text for name, (_, text) in cases.items()}


@pytest.mark.parametrize(
    "name", ["refused", "local", "nonsense", "hanging", "no-address", "stranger", "no-tls"]
)
def test_no_answer(failing: tuple[Pair, dict[str, str]], name: str) -> None:
    """A response without an answer of the provider gives the reason in plain words."""
    gateway, texts = failing
    headers = [("x-api-key", gateway.create_token("alice"))]
    data = raw.request("POST", f"/{name}/v1/messages", headers, b"{}")
    answer = raw.ask(gateway.port, data, timeout=30)
    assert answer.status in (502, 503)
    assert answer.error["type"] == "api_error"
    assert answer.error["message"] == f"The gateway got no answer: {texts[name]}."


_REQUESTS = {
    "no host": (raw.request(host=None), "no Host"),
    "no HTTP": (b"nonsense\r\n\r\n", "not valid HTTP"),
    "header name": (raw.request(headers=[("a b", "c")]), "not valid HTTP"),
    "two lengths": (
        raw.request("POST", headers=[("transfer-encoding", "chunked")], body=b"x"),
        "both Content-Length and Transfer-Encoding",
    ),
    "coding": (raw.request("POST", headers=[("transfer-encoding", "x")]), "Transfer-Encoding"),
    "websocket": (
        raw.request(
            target="/healthz", headers=[("connection", "upgrade"), ("upgrade", "websocket")]
        ),
        "no WebSocket",
    ),
    "large": (raw.request(headers=[("x", "a" * 90_000)]), "100 fields and 60 KiB"),
    "large for clients": (raw.request(headers=[("x", "a" * 65_000)]), "100 fields and 60 KiB"),
    "many": (raw.request(headers=[(f"x{n}", "1") for n in range(200)]), "100 fields and 60 KiB"),
    "connect": (raw.request("CONNECT", "example.com:443"), "nothing at this address"),
}


@pytest.mark.parametrize("name", list(_REQUESTS))
def test_refused(failing: tuple[Pair, dict[str, str]], name: str) -> None:
    """A request that Envoy itself refuses gets a sentence without Envoy's internals."""
    data, text = _REQUESTS[name]
    answer = raw.ask(failing[0].port, data)
    message = str(json.loads(answer.body)["error"]["message"])
    assert text in message
    assert _INTERNAL.search(message) is None
