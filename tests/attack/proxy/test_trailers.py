"""Trailers of an HTTP/2 request, which Envoy passes on to a provider that speaks HTTP/2."""

import socket

import pytest

from tests.attack.target import BODY, GOVERNANCE
from tests.e2e.proxy import pairs
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS
from tests.support.raw import Headers
from tests.support.tls import Connect, credentials, trusting

HOST = pairs.HOSTS["anthropic"]


@pytest.fixture(scope="module")
def over_http2(request: pytest.FixtureRequest) -> pairs.OverHttp2:
    """A pair in front of a provider that speaks HTTP/2."""
    ready: pairs.OverHttp2 = pairs.shared(request, pairs.over_http2)
    ready.origin.headers.clear()
    return ready


def _trailers(token: str) -> Headers:
    return [
        (GOVERNANCE, token),
        ("authorization", f"Bearer {token}"),
        ("x-api-key", OWN_KEYS["anthropic"]),
        ("cookie", "coder_session_token=x"),
        ("x-forwarded-for", "1.2.3.4"),
        ("host", "evil.test"),
        ("x-anything", "1"),
        ("x_api_key", "1"),
    ]


def _request(authority: str, path: str, token: str | None) -> Headers:
    pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", authority), (":path", path)]
    own = [] if token is None else [("x-api-key", token)]
    return [*pseudo, *own, ("content-type", "application/json")]


@pytest.mark.parametrize("body", [BODY, b""], ids=["body", "no body"])
def test_no_trailer_reaches_the_provider(over_http2: pairs.OverHttp2, body: bytes) -> None:
    """A request through the gateway arrives with its body and without any trailer."""
    over_http2.origin.trailers.clear()
    over_http2.origin.bodies.clear()
    token = over_http2.token
    headers = _request("gateway.test", "/anthropic/v1/messages", token)
    with socket.create_connection(("127.0.0.1", over_http2.pair.port), raw.PATIENCE) as wire:
        answer = raw.exchange_h2(wire, headers, body, _trailers(token))
    assert answer.status == 200
    assert over_http2.origin.trailers == []
    assert over_http2.origin.bodies == [body]
    assert ("x-api-key", CENTRAL_KEYS["anthropic"]) in over_http2.origin.headers[-1]


def test_no_trailer_inside_a_tunnel(over_http2: pairs.OverHttp2) -> None:
    """A request in the proxy's tunnel arrives without any trailer too."""
    over_http2.origin.trailers.clear()
    over_http2.origin.bodies.clear()
    context = trusting(over_http2.ca_file, alpn=("h2",))
    token = over_http2.token
    with Connect(over_http2.port, f"{HOST}:443", credentials(token)) as connection:
        connection.start_tls(context, HOST)
        headers = _request(HOST, "/v1/messages", None)
        answer = raw.exchange_h2(connection.tls, headers, BODY, _trailers(token))
    assert answer.status == 200
    assert over_http2.origin.trailers == []
    assert over_http2.origin.bodies == [BODY]


def test_trailer_authenticates_nobody(over_http2: pairs.OverHttp2) -> None:
    """A token in a trailer alone is a 401, and nothing reaches the provider."""
    over_http2.origin.headers.clear()
    headers = _request("gateway.test", "/anthropic/v1/messages", None)
    with socket.create_connection(("127.0.0.1", over_http2.pair.port), raw.PATIENCE) as wire:
        answer = raw.exchange_h2(wire, headers, BODY, _trailers(over_http2.token))
    assert answer.status == 401
    assert over_http2.origin.headers == []
