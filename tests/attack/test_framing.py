"""The ends of requests, their sizes, and how long they may take."""

import time

import pytest

from tests.attack.target import BODY, GOVERNANCE, MESSAGES, Target
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS
from tests.support.raw import Closed, Connection, Headers

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
    """A body with an uncertain end is refused, and nothing behind it counts as a request."""
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
    """A request behind a NUL in a chunk extension is decided on its own, however Envoy reads it.

    Envoy may take it for an extension, which it does not pass on, and end the chunk where the
    client does; then the request behind is one of its own, and has no token here.
    """
    start = POST + b"transfer-encoding: chunked\r\ncontent-type: application/json\r\n"
    data = start + _key(target) + b"\r\n" + b"5;\x00\r\n" + b"hello\r\n0\r\n\r\n"
    outcome = target.send(data + HIDDEN + b"\r\n")
    assert outcome.status != 200
    assert [visit.query for visit in outcome.seen if visit.query] == []


def test_request_in_the_body_of_a_refused_one(target: Target) -> None:
    """The body of a refused request is never taken for the next request."""
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
    """A request without a token is 401 even after a good request on the same connection."""
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
    """A token or key in a trailer does not authenticate, and does not reach the provider."""
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
    "header", [("x-big", "a" * 63_000), ("x-api-key", "a" * 80_000), ("a" * 63_000, "x")]
)
def test_oversized_headers(target: Target, header: tuple[str, str]) -> None:
    """More than 60 KiB of headers is 431, in JSON."""
    outcome = target.post([*target.valid(), header])
    assert (outcome.status, outcome.error_type) == (431, "invalid_request_error")
    assert outcome.seen == []


def _pseudo() -> Headers:
    values = {":method": "POST", ":scheme": "http", ":authority": "gateway", ":path": MESSAGES}
    return [*values.items(), ("content-type", "application/json")]


@pytest.mark.parametrize("size", [60_000, *range(61_000, 62_000, 50), 64_000, 70_000])
def test_headers_near_the_limit(target: Target, size: int) -> None:
    """Headers of some 60 KiB are served or a 431, over both protocols; never a 5xx."""
    headers = [*target.valid(), ("x-big", "a" * size)]
    for outcome in (target.post(headers), target.send_h2([*_pseudo(), *headers])):
        expected = (200,) if size < 61_300 else (200, 431) if size < 62_000 else (431,)
        assert outcome.status in expected
        assert len(outcome.seen) == (outcome.status == 200)


def test_oversized_path(target: Target) -> None:
    """A path of more than 60 KiB is 431 too; one just below reaches authz."""
    outcome = target.get("/anthropic/v1/models/" + "a" * 70_000)
    assert (outcome.status, outcome.error_type) == (431, "invalid_request_error")
    outcome = target.get("/anthropic/v1/models/" + "a" * 50_000, [])
    assert (outcome.status, outcome.error_type) == (401, "authentication_error")
    assert outcome.seen == []


@pytest.mark.parametrize("count", [80, *range(90, 112), 115, 120])
def test_many_headers(target: Target, count: int) -> None:
    """100 header fields are served, more are a 431 before authz is asked; never a 5xx."""
    headers = [*target.valid(), *((f"x-many-{number}", "1") for number in range(count - 1))]
    for outcome in (target.post(headers), target.send_h2([*_pseudo(), *headers])):
        expected = (200,) if count < 100 else (200, 431) if count < 110 else (431,)
        assert outcome.status in expected
        assert len(outcome.seen) == (outcome.status == 200)
    unauthenticated = target.post([header for header in headers if header[0] != "x-api-key"])
    assert unauthenticated.status in ((401,) if count < 100 else (401, 431))


def test_far_too_many_headers(target: Target) -> None:
    """A request above the connection manager's own limits is 431, or a reset over HTTP/2."""
    headers = [*target.valid(), *((f"x-many-{number}", "1") for number in range(200))]
    outcome = target.post(headers)
    assert (outcome.status, outcome.error_type) == (431, "invalid_request_error")
    assert outcome.seen == []
    outcome = target.send_h2([*_pseudo(), *headers])
    assert outcome.status in (None, 431)
    assert outcome.seen == []


@pytest.mark.parametrize("hosts", [("a", "b"), ("gateway", "evil.test"), ("a", "a")])
def test_two_hosts(target: Target, hosts: tuple[str, str]) -> None:
    """A second Host has no effect: the provider gets its own Host, or the request is refused."""
    outcome = target.post([("host", hosts[1]), *target.valid()])
    assert outcome.status in (200, 400)
    for visit in outcome.seen:
        (host,) = visit.all("host")
        assert host == target.gateway.provider.server.url.removeprefix("http://")
    without_token = target.post([("host", hosts[1])])
    assert without_token.status in (400, 401)


@pytest.mark.parametrize("host", [None, "a b", "a/b", "a\x00b"])
def test_malformed_host(target: Target, host: str | None) -> None:
    """A request without a Host, or with an invalid one, is 400."""
    outcome = target.send(raw.request("POST", MESSAGES, target.valid(), BODY, host=host))
    assert (outcome.status, outcome.error_type) == (400, "invalid_request_error")
    assert outcome.seen == []


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0"])
def test_other_version(target: Target, version: str) -> None:
    """A version that a text protocol can't have is refused, or served as HTTP/1.0 is."""
    outcome = target.send(raw.request("POST", MESSAGES, target.valid(), BODY, version=version))
    assert outcome.status in (200, 400, 426)
    assert len(outcome.seen) == (outcome.status == 200)
    outcome = target.send(raw.request("POST", MESSAGES, [], BODY, version=version))
    assert outcome.status in (400, 401, 426)
    assert outcome.seen == []


@pytest.mark.parametrize("host", ["gateway.test", None])
def test_http_1_0(target: Target, host: str | None) -> None:
    """HTTP/1.0 is served like HTTP/1.1, with a Host and without one."""
    for path, headers, status in (
        ("/healthz", [], 200),
        ("/anthropic/v1/models", [], 401),
        ("/anthropic/v1/models", target.valid(), 200),
    ):
        data = raw.request("GET", path, headers, version="HTTP/1.0", host=host)
        outcome = target.send(data)
        assert outcome.status == status
        assert outcome.answer is not None
        assert outcome.answer.whole.startswith(b"HTTP/1.0 ")
        assert outcome.answer.header("connection") == "close"


def test_stream_over_http_1_0(target: Target) -> None:
    """A stream of HTTP/1.0 has no transfer coding and ends with the connection."""
    body = BODY.replace(b"{", b'{"stream":true,', 1)
    headers = [*target.valid(), ("content-type", "application/json")]
    outcome = target.send(raw.request("POST", MESSAGES, headers, body, version="HTTP/1.0"))
    assert outcome.status == 200
    assert outcome.answer is not None
    assert outcome.answer.header("transfer-encoding") is None
    assert outcome.answer.header("content-length") is None
    assert outcome.answer.body.rstrip().endswith(b'data: {"type":"message_stop"}')


@pytest.mark.parametrize("keep_alive", [True, False])
def test_request_behind_one_of_http_1_0(target: Target, keep_alive: bool) -> None:
    """A request behind an HTTP/1.0 one is read only after keep-alive, and has no token."""
    headers = [*target.valid(), *([("connection", "keep-alive")] if keep_alive else [])]
    first = raw.request("POST", MESSAGES, headers, BODY, version="HTTP/1.0")
    target.gateway.provider.take()
    with Connection(target.gateway.port) as connection:
        connection.send(first + HIDDEN + b"\r\n")
        assert connection.read().status == 200
        if keep_alive:
            assert connection.read().status == 401
        else:
            assert connection.is_closed(5)
    assert [visit.query for visit in target.reached() if visit.query] == []


def test_http_1_0_without_length(target: Target) -> None:
    """An HTTP/1.0 request without a length has no body, and bytes behind it are not a request."""
    head = POST.replace(b"HTTP/1.1", b"HTTP/1.0") + _key(target)
    outcome = target.send(head + b"\r\n" + HIDDEN + _key(target) + b"\r\n")
    assert [visit.query for visit in outcome.seen if visit.query] == []


def test_upgrade_over_http_1_0(target: Target) -> None:
    """HTTP/1.0 has no WebSockets; an offer of anything else is ignored there too."""
    for upgrade, status in (("websocket", 400), ("TLS/1.2", 200)):
        headers = [*target.valid(), ("connection", "upgrade"), ("upgrade", upgrade)]
        data = raw.request("GET", "/openai/v1/models", headers, version="HTTP/1.0")
        outcome = target.send(data)
        assert outcome.status == status
        assert len(outcome.seen) == (status == 200)


@pytest.mark.parametrize(
    "version", ["HTTP/1.2", "HTTP/11", "HTPP/1.1", "http/1.1", "HTTP/1.1x", ""]
)
def test_malformed_version(target: Target, version: str) -> None:
    """A request with an invalid version is refused, or decided on like any other."""
    outcome = target.send(raw.request("POST", MESSAGES, target.valid(), BODY, version=version))
    assert outcome.status in (None, 200, 400, 401, 426)
    assert len(outcome.seen) == (outcome.status == 200)
    outcome = target.send(raw.request("POST", MESSAGES, [], BODY, version=version))
    assert outcome.status in (None, 400, 401, 426)
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
    """A request with ``Expect: 100-continue`` is 401 without a token, and 200 with one."""
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
    "upgrade",
    ["websocket", "WebSocket", "websocket, TLS/1.2", "foo,WEBSOCKET", "websocket, websocket"],
)
@pytest.mark.parametrize("authenticated", [True, False])
def test_upgrade(target: Target, upgrade: str, authenticated: bool) -> None:
    """A WebSocket is refused, on an allow-listed path and on a provider that serves every path."""
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


_UNKNOWN = ["TLS/1.2", "tls/1.2", "TLS/1.2, TLS/1.3", "connect-udp", "x", ",", "websocke", "\xff"]


@pytest.mark.parametrize("upgrade", [*_UNKNOWN, "xwebsocket", "websocket/13", "h2c, TLS/1.2"])
@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, upgrade"])
def test_unknown_upgrade(target: Target, upgrade: str, connection: str) -> None:
    """An upgrade to an unknown protocol is ignored, and the request is decided on as usual."""
    offer = [("connection", connection), ("upgrade", upgrade)]
    assert target.get("/healthz", offer).status == 200
    assert target.post(offer).status == 401
    outcome = target.post([*target.valid(), *offer])
    assert outcome.status == 200
    for visit in outcome.seen:
        assert visit.all("upgrade") == visit.all("connection") == []


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
def test_request_behind_an_ignored_upgrade(target: Target, framing: str) -> None:
    """The next request behind an ignored upgrade is read as HTTP and has no token."""
    offer = b"connection: upgrade\r\nupgrade: TLS/1.2\r\nupgrade: foo\r\n"
    data = {
        "length": b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
        "chunked": b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        "none": b"\r\n",
    }[framing]
    target.gateway.provider.take()
    with Connection(target.gateway.port) as connection:
        connection.send(POST + _key(target) + offer + data + HIDDEN + b"\r\n")
        assert connection.read().status == (400 if framing == "none" else 200)
        assert connection.read().status == 401
    assert [visit.query for visit in target.reached() if visit.query] == []


@pytest.mark.parametrize("authenticated", [True, False])
def test_upgrade_to_http2(target: Target, authenticated: bool) -> None:
    """An upgrade to cleartext HTTP/2 is ignored, and the request is decided on as usual."""
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
    """Headers that are incomplete after 10 s get 408, even if a byte comes every second."""
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


def test_odd_pseudo_headers(target: Target) -> None:
    """HTTP/2 requests without exactly one good path and method are refused, token or not."""
    rest = [(":method", "POST"), (":scheme", "http"), (":authority", "gateway")]
    odd: list[list[tuple[str, str]]] = [
        [(":path", MESSAGES), (":path", "/healthz")],
        [(":path", "/healthz"), (":path", MESSAGES)],
        [(":path", "/healthz\x00")],
        [(":path", "")],
        [(":path", "http://evil.test/anthropic/v1/messages")],
        [(":path", MESSAGES), (":protocol", "websocket")],
        [(":path", MESSAGES), (":method", "GET")],
        [],
    ]
    requests = [[*rest, *pseudo, *headers] for pseudo in odd for headers in (target.valid(), [])]
    for sent, outcome in zip(requests, target.send_each_h2(requests), strict=True):
        assert outcome.status in (None, 400, 403, 404), sent
        assert outcome.seen == []
