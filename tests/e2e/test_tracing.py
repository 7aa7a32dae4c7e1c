"""Traces: Envoy's and authz's spans are one trace, and no provider learns of it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.e2e.proxy import pairs
from tests.support import every_type as every
from tests.support.collector import Collector, Span, collector
from tests.support.pair import CENTRAL_KEYS, Pair, Provider, pair, wait_until
from tests.support.spellings import spellings
from tests.support.tls import trusting
from tests.support.websocket_provider import WebSocketProvider

TRACE = "0af7651916cd43dd8448eb211c80319c"
OF_CLIENT = {
    "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    "tracestate": "client=1",
    "baggage": "client=1",
    "x-client-trace-id": "client",
}
OF_TRACES = frozenset({*OF_CLIENT, "b3", "x-b3-traceid", "x-envoy-force-trace"})
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    """A collector."""
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[WebSocketProvider]:
    """A provider with WebSockets."""
    with WebSocketProvider() as running:
        yield running


@pytest.fixture(scope="module")
def traced(
    every_upstream: Provider,
    upstream: WebSocketProvider,
    collected: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """A pair that traces every request."""
    folder = tmp_path_factory.mktemp("traced")
    sockets = {
        "name": "sockets",
        "type": "openai",
        "base_url": f"http://127.0.0.1:{upstream.port}/v1",
        "key": {"file": str(folder / "openai.key")},
    }
    listed = [*every.providers(every_upstream.server.url, folder), sockets]
    tracing = {"otlp": collected.url, "sample": 1}
    with pair(every_upstream, providers=listed, tracing=tracing) as running:
        running.create_user("alice")
        yield running


@pytest.fixture(scope="module")
def token(traced: Pair) -> str:
    """A token of alice."""
    return traced.create_token("alice")


def _trace(collected: Collector, **attributes: str) -> tuple[Span, Span, Span]:
    """Wait for a check, and return it with the spans of Envoy above it, outermost first."""
    wanted = {f"authz.{name}": value for name, value in attributes.items()}

    def found() -> list[tuple[Span, Span, Span]]:
        spans = {span.id: span for span in collected.spans}
        return [
            (spans[spans[span.parent].parent], spans[span.parent], span)
            for span in spans.values()
            if span.service == "authz"
            and wanted.items() <= span.attributes.items()
            and span.parent in spans
            and spans[span.parent].parent in spans
        ]

    wait_until(found, 15, "the spans being there")
    return found()[-1]


def test_an_allowed_request_is_one_trace(traced: Pair, token: str, collected: Collector) -> None:
    """Authz's span is below Envoy's, and both have the user, the provider and the mode."""
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.post(f"{traced.url}/openai/v1/chat/completions", headers=headers, json=ASK)
    assert answer.status_code == 200
    root, asked, check = _trace(collected, provider="openai", decision="allow")
    assert (root.service, asked.service, check.service) == ("envoy", "envoy", "authz")
    assert root.trace == asked.trace == check.trace
    assert root.parent == b""
    for span in (root, check):
        assert span.attributes["authz.mode"] == "centralized"
        assert span.attributes["authz.user_id"]
    assert root.attributes["http.status_code"] == "200"
    wait_until(lambda: f'"trace_id":"{root.trace.hex()}"' in traced.stdout, 15, "the line")


def test_a_refusal_says_why(traced: Pair, collected: Collector) -> None:
    """The spans of a refused request have the reason."""
    assert httpx.get(f"{traced.url}/openai/v1/models").status_code == 401
    root, _, check = _trace(collected, decision="deny")
    assert root.attributes["authz.reason"] == check.attributes["authz.reason"] == "token_missing"
    assert root.attributes["http.status_code"] == "401"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/gemini/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "Hello"}]}]}),
        ("/bedrock/v1/messages", {**ASK, "max_tokens": 9}),
    ],
)
def test_the_provider_gets_nothing(traced: Pair, token: str, path: str, body: Any) -> None:
    """Trace headers of the client or of Envoy never reach a provider, signed or not."""
    traced.provider.take()
    headers = {"x-goog-api-key": token} if "gemini" in path else {"x-api-key": token}
    answer = httpx.post(f"{traced.url}{path}", headers=headers | OF_CLIENT, json=body)
    assert answer.status_code == 200, answer.text
    (seen,) = traced.provider.take()
    assert OF_TRACES.isdisjoint(name for name, _ in seen.headers)


def test_a_websocket_brings_nothing(traced: Pair, token: str, upstream: WebSocketProvider) -> None:
    """Trace headers do not reach a provider over a WebSocket either."""
    headers = {"authorization": f"Bearer {token}", **OF_CLIENT}
    url = f"ws://127.0.0.1:{traced.port}/sockets/v1/responses"
    with connect(url, additional_headers=headers, proxy=None, close_timeout=0.1) as connection:
        connection.send("x")
        assert connection.recv(timeout=60) == "x"
    (handshake,) = upstream.take()
    assert OF_TRACES.isdisjoint(name for name, _ in handshake.headers)


def test_a_client_does_not_choose_the_trace(traced: Pair, token: str, collected: Collector) -> None:
    """Trace headers that a client sends are not believed."""
    headers = {"x-api-key": token, **OF_CLIENT}
    httpx.get(f"{traced.url}/mantle/v1/models", headers=headers)
    root, _, _ = _trace(collected, provider="mantle")
    assert TRACE not in {span.trace.hex() for span in collected.spans}
    assert "client" not in root.attributes.values()


def test_spans_hold_nothing_of_the_client(traced: Pair, token: str, collected: Collector) -> None:
    """No span contains a token that was sent in query, path, host, user agent or an odd header."""
    before = len(collected.spans)
    secret = token.partition("-")[2]
    odd = {
        "host": token,
        "user-agent": token,
        "x-client-trace-id": token,
        "x-envoy-downstream-service-cluster": token,
        "x-request-id": token,
        "tracestate": f"a={secret}",
        "baggage": f"a={secret}",
        "referer": token,
    }
    httpx.get(f"{traced.url}/gemini/v1beta/models/{token}?key={token}", headers=odd)
    wait_until(lambda: len(collected.spans) >= before + 3, 15, "the spans being there")
    sent = b"".join(request.SerializeToString() for request in list(collected.requests))
    assert not [one for one in spellings(secret, halves=True) if one in sent]


def test_without_tracing_a_clients_own_headers_pass(gateway: Pair) -> None:
    """Without tracing, a client's own trace headers pass, and Envoy adds and removes nothing."""
    gateway.provider.take()
    headers = {"x-api-key": gateway.create_token("alice"), **OF_CLIENT}
    httpx.get(f"{gateway.url}/anthropic/v1/models", headers=headers)
    (seen,) = gateway.provider.take()
    assert seen.all("traceparent") == [OF_CLIENT["traceparent"]]
    assert seen.all("baggage") == [OF_CLIENT["baggage"]]
    assert "trace_id" not in gateway.stdout


def test_a_clients_trace_goes_on_through_the_proxy(collected: Collector) -> None:
    """With `join_clients` both spans join the client's trace, and the provider gets nothing."""
    tracing = {"otlp": collected.url, "sample": 1, "join_clients": True}
    with (
        pairs.proxied(tracing=tracing) as proxied,
        httpx.Client(proxy=proxied.url, verify=trusting(proxied.ca_file), timeout=20) as client,
    ):
        answer = client.get("https://api.openai.com/v1/models", headers=OF_CLIENT)
        assert answer.status_code == 200
        (seen,) = proxied.provider.take()
        assert OF_TRACES.isdisjoint(name for name, _ in seen.headers)
        assert seen.credential == CENTRAL_KEYS["openai"]
        wait_until(
            lambda: (
                {span.service for span in collected.spans if span.trace.hex() == TRACE}
                == {"envoy", "authz"}
            ),
            15,
            "both in the client's trace",
        )
    sent = b"".join(request.SerializeToString() for request in list(collected.requests))
    secret = proxied.token.partition("-")[2]
    assert not [one for one in spellings(secret, halves=True) if one in sent]
