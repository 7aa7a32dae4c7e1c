"""Where one request ends and the next begins, how large it is, and how long it takes."""

import time

import pytest

from tests.attack.target import BODY, GOVERNANCE, MESSAGES, Target
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS
from tests.support.raw import Closed, Connection

POST = b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: gateway\r\n"
HIDDEN = b"GET /anthropic/v1/models?hidden HTTP/1.1\r\nhost: gateway\r\n"


def _key(target: Target) -> bytes:
    return b"x-api-key: " + target.token.encode() + b"\r\n"


@pytest.mark.parametrize(
    "length",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5, 6\r\n",
        b"content-length: -1\r\n",
        b"content-length: +5\r\n",
        b"content-length: 0x5\r\n",
        b"content-length: 5 5\r\n",
        b"content-length: 99999999999999999999999\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        b"transfer-encoding: identity, chunked\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, gzip\r\n",
        b"transfer-encoding: \x0bchunked\r\n",
        b"transfer-encoding : chunked\r\n",
    ],
)
def test_length_that_can_be_read_in_two_ways(target: Target, length: bytes) -> None:
    """A body whose end is not certain is refused, and nothing behind it counts as a request."""
    hidden = HIDDEN + _key(target) + b"\r\n"
    outcome = target.send(POST + _key(target) + length + b"\r\n0\r\n\r\n" + hidden)
    assert outcome.status in (400, 501)
    assert outcome.error_type == "invalid_request_error"
    assert outcome.seen == []


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b" 5\r\n"])
def test_malformed_chunk(target: Target, chunk: bytes) -> None:
    """A malformed chunk ends the connection, and nothing behind it counts as a request."""
    start = POST + b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n"
    data = start + _key(target) + b"\r\n" + chunk + b"hello\r\n0\r\n\r\n"
    outcome = target.send(data + HIDDEN + _key(target) + b"\r\n")
    assert outcome.status != 200
    assert [visit.query for visit in outcome.seen if visit.query] == []


def test_odd_chunk_extension(target: Target) -> None:
    """Whatever Envoy makes of a NUL in a chunk extension, what stands behind is decided by itself.

    Envoy may take it for an extension, which it does not pass on, and end the chunk where the
    client does; then the request behind is one of its own, and has no token here.
    """
    start = POST + b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n"
    data = start + _key(target) + b"\r\n" + b"5;\x00\r\n" + b"hello\r\n0\r\n\r\n"
    outcome = target.send(data + HIDDEN + b"\r\n")
    assert outcome.status != 200
    assert [visit.query for visit in outcome.seen if visit.query] == []


def test_request_in_the_body_of_a_refused_one(target: Target) -> None:
    """What stands in a refused request's body is never taken for the next request."""
    hidden = HIDDEN + _key(target) + b"\r\n"
    with Connection(target.gateway.port) as connection:
        connection.send(POST + b"content-length: %d\r\n\r\n" % len(hidden) + hidden)
        outcome = target.outcome(connection.read())
        assert (outcome.status, outcome.error_type) == (401, "authentication_error")
        assert outcome.seen == []
        connection.is_closed(0.2)
        assert target.reached() == []


def test_request_behind_a_refused_one(target: Target) -> None:
    """Requests that are sent at once each get their own decision."""
    refused = raw.request("POST", MESSAGES, (), BODY)
    allowed = raw.request("POST", MESSAGES, target.valid(), BODY)
    for order, statuses in (
        ((refused, allowed), (401, 200)),
        ((allowed, refused), (200, 401)),
        ((allowed, refused, allowed), (200, 401, 200)),
    ):
        target.gateway.provider.take()
        with Connection(target.gateway.port) as connection:
            connection.send(b"".join(order))
            for number, status in enumerate(statuses):
                try:
                    assert connection.read().status == status
                except Closed:
                    # Closing behind a refusal is right too: then nothing more was served.
                    assert statuses[number - 1] == 401
                    break
        seen = target.reached()
        assert len(seen) <= statuses.count(200)
        assert {visit.credential for visit in seen} <= {CENTRAL_KEYS["anthropic"]}


def test_token_of_the_request_before(target: Target) -> None:
    """A connection has no memory: after a good request one without a token is 401."""
    with Connection(target.gateway.port) as connection:
        for _ in range(2):
            connection.send(raw.request("POST", MESSAGES, target.valid(), BODY))
            assert connection.read().status == 200
            connection.send(raw.request("POST", MESSAGES, (), BODY))
            assert connection.read().status == 401


def test_token_deleted_between_two_requests(target: Target) -> None:
    """A deleted token is 401 on the very next request of the same connection."""
    token = target.gateway.create_token("alice")
    headers = [("x-api-key", token)]
    with Connection(target.gateway.port) as connection:
        connection.send(raw.request("POST", MESSAGES, headers, BODY))
        assert connection.read().status == 200
        target.gateway.delete_token(token)
        connection.send(raw.request("POST", MESSAGES, headers, BODY))
        assert connection.read().status == 401


def test_trailer_with_a_credential(target: Target) -> None:
    """A token or key in a trailer authenticates nobody and does not reach the provider."""
    chunked = b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n"
    body = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    trailer = _key(target) + b"x-coder-ai-governance-token: " + target.token.encode() + b"\r\n\r\n"
    outcome = target.send(POST + chunked + b"trailer: x-api-key\r\n\r\n" + body + trailer)
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    outcome = target.send(POST + chunked + _key(target) + b"\r\n" + body + trailer)
    assert outcome.status in (200, 400)
    for visit in outcome.seen:
        assert visit.credential == CENTRAL_KEYS["anthropic"]


@pytest.mark.parametrize(
    "header", [("x-big", "a" * 61_440), ("x-api-key", "a" * 70_000), ("a" * 61_440, "x")]
)
def test_oversized_headers(target: Target, header: tuple[str, str]) -> None:
    """More than 60 KiB of headers is 431, in JSON."""
    outcome = target.post([*target.valid(), header])
    assert (outcome.status, outcome.error_type) == (431, "invalid_request_error")
    assert outcome.seen == []


def test_oversized_path(target: Target) -> None:
    """A path of more than 60 KiB is 431 too; one just below reaches authz."""
    outcome = target.get("/anthropic/v1/models/" + "a" * 70_000)
    assert (outcome.status, outcome.error_type) == (431, "invalid_request_error")
    outcome = target.get("/anthropic/v1/models/" + "a" * 50_000, [])
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.seen == []


def test_too_many_headers(target: Target) -> None:
    """More than 100 headers is 431; fewer pass."""
    many = [(f"x-many-{number}", "1") for number in range(101)]
    outcome = target.post([*target.valid(), *many])
    assert (outcome.status, outcome.error_type) == (431, "invalid_request_error")
    assert outcome.seen == []
    assert target.post([*target.valid(), *many[:90]]).status == 200


@pytest.mark.parametrize("hosts", [("a", "b"), ("gateway", "evil.test"), ("a", "a")])
def test_two_hosts(target: Target, hosts: tuple[str, str]) -> None:
    """Two Hosts decide nothing: the provider gets its own, or the request is refused."""
    outcome = target.post([("host", hosts[1]), *target.valid()])
    assert outcome.status in (200, 400)
    for visit in outcome.seen:
        (host,) = visit.all("host")
        assert host == target.gateway.provider.server.url.removeprefix("http://")
    without_token = target.post([("host", hosts[1])])
    assert without_token.status in (400, 401)


@pytest.mark.parametrize("host", [None, "a b", "a/b", "a\x00b"])
def test_malformed_host(target: Target, host: str | None) -> None:
    """A request without a Host, or with one that is none, is 400."""
    outcome = target.send(raw.request("POST", MESSAGES, target.valid(), BODY, host=host))
    assert (outcome.status, outcome.error_type) == (400, "invalid_request_error")
    assert outcome.seen == []


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/3.0"])
def test_other_version(target: Target, version: str) -> None:
    """HTTP/1.0 and versions that a text protocol can't have get 426, whatever the token."""
    for headers in (target.valid(), []):
        outcome = target.send(raw.request("POST", MESSAGES, headers, BODY, version=version))
        assert outcome.status in (400, 426)
        assert outcome.error_type == "invalid_request_error"
        assert outcome.seen == []


@pytest.mark.parametrize(
    "version", ["HTTP/1.2", "HTTP/11", "HTPP/1.1", "http/1.1", "HTTP/1.1x", ""]
)
def test_malformed_version(target: Target, version: str) -> None:
    """A version that is none is refused."""
    outcome = target.send(raw.request("POST", MESSAGES, target.valid(), BODY, version=version))
    assert outcome.status in (None, 400, 426)
    assert outcome.seen == []


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01", b"\x00" * 100, b"SSH-2.0-x\r\n\r\n", b"\r\n\r\n"]
)
def test_no_http_at_all(target: Target, data: bytes) -> None:
    """Bytes of another protocol get a 400 or a closed connection."""
    with Connection(target.gateway.port, 1.0) as connection:
        connection.send(data + b"\r\n\r\n")
        try:
            status = connection.read().status
        except (Closed, TimeoutError):
            status = None
    assert status in (None, 400, 426)
    assert target.reached() == []


def test_expect_continue(target: Target) -> None:
    """With ``Expect: 100-continue`` a request without a token ends in 401, one with it in 200."""
    expect = ("expect", "100-continue")
    outcome = target.post([expect])
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.seen == []
    outcome = target.post([*target.valid(), expect])
    assert outcome.status == 200


def test_unknown_expectation(target: Target) -> None:
    """An unknown expectation opens nothing: without a token it is refused."""
    outcome = target.post([("expect", "200-ok")])
    assert outcome.status in (401, 417)
    assert outcome.seen == []


@pytest.mark.parametrize(
    "upgrade", ["websocket", "WebSocket", "tls/1.2", "connect-udp", "h2c, websocket"]
)
@pytest.mark.parametrize("authenticated", [True, False])
def test_upgrade(target: Target, upgrade: str, authenticated: bool) -> None:
    """An upgrade is refused, on an allow-listed path and on a provider that serves every path."""
    headers = [
        ("connection", "upgrade"),
        ("upgrade", upgrade),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ]
    if authenticated:
        headers += [
            (GOVERNANCE, target.token),
            ("authorization", f"Bearer {OWN_KEYS['copilot']}"),
        ]
    for path in ("/openai/v1/responses/x", "/copilot/responses"):
        outcome = target.get(path, headers)
        assert outcome.status in (401, 403, 404, 426, 501)
        assert outcome.seen == []


@pytest.mark.parametrize("authenticated", [True, False])
def test_upgrade_to_http2(target: Target, authenticated: bool) -> None:
    """An upgrade to HTTP/2 in clear is ignored, and its request decided on like any other."""
    headers = [
        ("connection", "upgrade, http2-settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
    ]
    outcome = target.post([*headers, *(target.valid() if authenticated else [])])
    assert outcome.status == (200 if authenticated else 401)
    for visit in outcome.seen:
        assert visit.all("upgrade") == visit.all("http2-settings") == []


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_large_upload_is_refused_at_once(target: Target, coding: str) -> None:
    """An upload of 100 MB without a token gets its 401 at once, before much of it is sent."""
    total, sent = 100_000_000, 0
    block = b"a" * 65_536
    framing = b"content-length: %d" % total if coding == "length" else b"transfer-encoding: chunked"
    started = time.monotonic()
    with Connection(target.gateway.port) as connection:
        connection.send(POST + framing + b"\r\n\r\n")
        try:
            while sent < total:
                connection.send(block if coding == "length" else b"10000\r\n" + block + b"\r\n")
                sent += len(block)
        except (Closed, TimeoutError):
            pass
        try:
            answer = connection.read()
        except Closed:
            answer = None
    assert time.monotonic() - started < 60
    assert sent < total / 4
    assert target.outcome(answer).seen == []
    # The refusal can be lost to a reset when the client goes on sending; nothing else may come.
    assert answer is None or answer.status == 401


def test_large_upload_waits_for_its_answer(target: Target) -> None:
    """A client that waits after its headers gets the 401 without having sent a byte of 100 MB."""
    started = time.monotonic()
    outcome = target.send(POST + b"content-length: 100000000\r\n\r\n")
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert time.monotonic() - started < 30


def test_slow_headers(target: Target) -> None:
    """Headers that are not whole after 10 s get 408, also when a byte comes every second."""
    started = time.monotonic()
    port = target.gateway.port
    with Connection(port, 60) as silent, Connection(port, 60) as trickling:
        silent.send(POST + _key(target))
        trickling.send(POST)
        for _ in range(9):
            trickling.send(b"a")
            time.sleep(1.0)
        for connection in (silent, trickling):
            outcome = target.outcome(connection.read())
            assert (outcome.status, outcome.error_type) == (408, "invalid_request_error")
            assert outcome.seen == []
    assert 9 < time.monotonic() - started < 100


def test_many_streams_with_mixed_tokens(target: Target) -> None:
    """Requests that a gateway gets at the same time do not share an identity."""
    port = target.gateway.port
    connections = [Connection(port) for _ in range(40)]
    try:
        for number, connection in enumerate(connections):
            headers = target.valid() if number % 2 else [("x-api-key", "x" * 10 + "-" + "y" * 22)]
            connection.send(raw.request("POST", MESSAGES, headers, BODY))
        statuses = [connection.read().status for connection in connections]
    finally:
        for connection in connections:
            connection.__exit__()
    assert statuses == [401, 200] * 20


@pytest.mark.parametrize(
    "pseudo",
    [
        [(":path", MESSAGES), (":path", "/healthz")],
        [(":path", "/healthz"), (":path", MESSAGES)],
        [(":path", "/healthz\x00")],
        [(":path", "")],
        [(":path", "http://evil.test/anthropic/v1/messages")],
        [(":path", MESSAGES), (":protocol", "websocket")],
        [(":path", MESSAGES), (":method", "GET")],
        [],
    ],
)
def test_odd_pseudo_headers(target: Target, pseudo: list[tuple[str, str]]) -> None:
    """HTTP/2 requests without exactly one good path and method are refused, token or not."""
    rest = [(":method", "POST"), (":scheme", "http"), (":authority", "gateway")]
    for headers in (target.valid(), []):
        outcome = target.send_h2([*rest, *pseudo, *headers])
        assert outcome.status in (None, 400, 403, 404)
        assert outcome.seen == []
