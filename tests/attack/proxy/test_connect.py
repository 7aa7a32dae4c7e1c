"""CONNECTs that must not be let through."""

import base64
import contextlib
import ssl

import pytest

from tests.e2e.proxy.pairs import ALLOWED_ADDRESS, Proxied, Tunnelled
from tests.support import raw
from tests.support.raw import Answer, Closed, Headers
from tests.support.tls import Connect, ConnectH2, basic, connect, credentials, trusting
from tests.support.together import together

PROVIDER = "api.anthropic.com:443"
CHALLENGE = 'Basic realm="Coder AI Gateway Proxy"'
HEADER = "proxy-authorization"


def _basic(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return "Basic " + base64.b64encode(data).decode()


def _bad_credentials(token: str) -> dict[str, Headers]:
    good = basic(token)
    # A length of 1 modulo 3, so that base64 needs its padding.
    padded = basic(token, "c" * (3 - (len(token) - 1) % 3))
    assert padded.endswith("=")
    unknown = f"{'x' * 10}-{'y' * 22}"
    values: dict[str, str] = {
        "empty": "",
        "bearer": f"Bearer {token}",
        "scheme alone": "Basic",
        "no scheme": good.removeprefix("Basic "),
        "other scheme": good.replace("Basic", "Digest"),
        "bad base64": "Basic !!!!",
        "url-safe base64": "Basic " + "_-_-" * 4,
        "missing padding": padded.rstrip("="),
        "no colon": _basic(token),
        "empty password": _basic("coder:"),
        "token as user": _basic(f"{token}:"),
        "token as user and password x": _basic(f"{token}:x"),
        "three fields": f"{good} x",
        "comma": f"{good},{good}",
        "blank in front": _basic(f"coder: {token}"),
        "blank behind": _basic(f"coder:{token} "),
        "newline behind": _basic(f"coder:{token}\n"),
        "null behind": _basic(f"coder:{token}\0"),
        "two colons": _basic(f"coder:x:{token}"),
        "not ASCII": _basic(f"coder:{token}".encode("utf-16")),
        "unknown token": basic(unknown),
        "wrong secret": basic(f"{token[:11]}{'0' * 22}"),
        "shortened": basic(token[:-1]),
        "lengthened": basic(f"{token}0"),
        "upper case": basic(token.upper()),
    }
    cases: dict[str, Headers] = {name: [(HEADER, value)] for name, value in values.items()}
    return cases | {
        "none": [],
        "twice": [(HEADER, good), (HEADER, good)],
        "good, then bad": [(HEADER, good), (HEADER, "Basic eDp5")],
        "bad, then good": [(HEADER, "Basic eDp5"), (HEADER, good)],
        "other header": [("authorization", f"Bearer {token}"), ("x-api-key", token)],
        "governance header": [("x-coder-ai-governance-token", token)],
        "underscores": [("proxy_authorization", good)],
    }


@pytest.mark.parametrize("name", list(_bad_credentials("a" * 10 + "-" + "b" * 22)))
@pytest.mark.parametrize("kind", ["provider", "other host"])
def test_bad_credentials(tunnelled: Tunnelled, name: str, kind: str) -> None:
    """Credentials other than exactly one Basic with a valid token get a 407 and a challenge."""
    assert tunnelled.origin is not None
    before = tunnelled.origin.connections
    authority = PROVIDER if kind == "provider" else f"{ALLOWED_ADDRESS}:{tunnelled.origin.port}"
    answer = connect(tunnelled.port, authority, _bad_credentials(tunnelled.token)[name])
    assert answer.status == 407
    assert answer.header("proxy-authenticate") == CHALLENGE
    assert answer.body == b"Proxy Authentication Required\n"
    assert tunnelled.token.encode() not in answer.whole
    assert tunnelled.origin.connections == before


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
@pytest.mark.parametrize("user", ["coder", "", "ignored", "a b", "\xfc"])
def test_good_credentials(tunnelled: Tunnelled, scheme: str, user: str) -> None:
    """The scheme's case and an ASCII user name do not matter."""
    value = basic(tunnelled.token, user).replace("Basic", scheme)
    expected = 200 if user.isascii() else 407
    assert connect(tunnelled.port, PROVIDER, [(HEADER, value)]).status == expected


def test_challenge_over_tls(proxied_tls: Proxied) -> None:
    """The TLS listener sends the same challenge."""
    assert proxied_tls.listener_ca is not None
    listener = trusting(proxied_tls.listener_ca)
    answer = connect(proxied_tls.port, PROVIDER, listener=listener)
    assert answer.status == 407
    assert answer.header("proxy-authenticate") == CHALLENGE


def test_credentials_after_the_challenge(proxied: Proxied) -> None:
    """A client that waits for the 407 may send its credentials on the same connection."""
    with raw.Connection(proxied.port) as connection:
        connection.send(raw.request("CONNECT", PROVIDER))
        assert connection.read().status == 407
        with contextlib.suppress(Closed):
            connection.send(raw.request("CONNECT", PROVIDER, credentials(proxied.token)))
            assert connection.read(head=True).status == 200
            return
        # Or the proxy has closed, and the client has to connect again.
        assert connect(proxied.port, PROVIDER, credentials(proxied.token)).status == 200


def test_http_1_0_without_host(proxied: Proxied) -> None:
    """An HTTP/1.0 CONNECT without a Host header is served, if it has a token."""
    for headers, status in ((credentials(proxied.token), 200), ([], 407)):
        answer = connect(proxied.port, PROVIDER, headers, version="HTTP/1.0", host=None)
        assert answer.status == status


@pytest.mark.parametrize("header", [("session_id", "x"), ("x_coder_ai_governance_token", "x")])
def test_underscores(proxied: Proxied, header: tuple[str, str]) -> None:
    """A header with an underscore next to good credentials does not affect a CONNECT."""
    headers = [*credentials(proxied.token), header]
    assert connect(proxied.port, PROVIDER, headers).status == 200


@pytest.mark.parametrize("count", [*range(90, 106), 120, 140])
def test_many_headers(proxied: Proxied, count: int) -> None:
    """A CONNECT with up to 100 header fields is served, and with more it is a 431; never a 5xx."""
    many = [(f"x-many-{number}", "1") for number in range(count)]
    answer = connect(proxied.port, PROVIDER, [*credentials(proxied.token), *many])
    assert answer.status in ((200,) if count < 99 else (200, 431) if count < 112 else (431,))


@pytest.mark.parametrize(
    "port", ["22", "25", "8443", "8080", "444", "0", "65535", "0443", "00080", "4430"]
)
@pytest.mark.parametrize("host", ["api.anthropic.com", "example.com", "127.0.0.2"])
def test_other_ports(tunnelled: Tunnelled, host: str, port: str) -> None:
    """A CONNECT to any port but 80 and 443 is refused."""
    answer = connect(tunnelled.port, f"{host}:{port}", credentials(tunnelled.token))
    assert answer.status == 403


@pytest.mark.parametrize(
    "authority",
    [
        "api.anthropic.com",
        "api.anthropic.com:",
        ":443",
        "api.anthropic.com:443:443",
        "api.anthropic.com:99999",
        "api.anthropic.com:80443",
        "api.anthropic.com:-443",
        "api.anthropic.com:+443",
        "api.anthropic.com:443x",
        "https://api.anthropic.com:443",
        "https://api.anthropic.com:443/",
        "/",
        "*",
        "api.anthropic.com:443/v1/models",
        "x@api.anthropic.com:443",
        "api.anthropic.com:443@example.com:443",
    ],
)
def test_malformed_targets(tunnelled: Tunnelled, authority: str) -> None:
    """A target that is not ``host:port`` is refused."""
    try:
        answer = connect(tunnelled.port, authority, credentials(tunnelled.token))
    except Closed:
        return
    assert answer.status in (400, 403, 404)


def test_target_wins_over_host_header(tunnelled: Tunnelled) -> None:
    """A Host header that names a provider has no effect: only the target of the CONNECT counts."""
    answer = connect(
        tunnelled.port, "127.0.0.1:443", credentials(tunnelled.token), host="api.anthropic.com:443"
    )
    assert answer.status == 403


def test_framing_smuggles_nothing(proxied: Proxied) -> None:
    """The bytes of a CONNECT with a body or an upgrade never become a request."""
    framings: list[Headers] = [
        [("content-length", "40")],
        [("transfer-encoding", "chunked")],
        [("content-length", "0"), ("transfer-encoding", "chunked")],
        [("content-length", "4"), ("content-length", "40")],
        [("upgrade", "websocket"), ("connection", "upgrade")],
    ]
    inside = raw.request(
        "GET", "/anthropic/v1/models", [("x-api-key", proxied.token)], host="api.anthropic.com"
    )

    def ask(framing: Headers) -> None:
        headers = [*credentials(proxied.token), *framing]
        with (
            contextlib.suppress(Closed),
            Connect(proxied.port, PROVIDER, headers, early=inside) as connection,
        ):
            assert connection.status in (200, 400, 403, 501)
            # Plain bytes where TLS belongs: the tunnel, if there is one, ends.
            assert b"HTTP/" not in connection.receive()

    proxied.provider.take()
    together(ask, framings)
    assert proxied.provider.take() == []


def test_early_bytes_after_a_refusal(tunnelled: Tunnelled) -> None:
    """Bytes behind a refused CONNECT reach no server, whatever they contain."""
    assert tunnelled.origin is not None
    before = tunnelled.origin.connections
    authority = f"{ALLOWED_ADDRESS}:{tunnelled.origin.port}"
    early = raw.request("GET", "/secret") + raw.request("GET", f"http://{authority}/")
    with Connect(tunnelled.port, authority, early=early) as connection:
        assert connection.status == 407
        with contextlib.suppress(Closed):
            # Each is a request to the proxy of its own, and as unwelcome.
            assert connection.read().status == 407
    assert tunnelled.origin.connections == before


def test_early_bytes_pass_a_good_connect(proxied: Proxied) -> None:
    """A ClientHello in the same segment as the CONNECT is not lost."""
    context = trusting(proxied.ca_file)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="api.anthropic.com")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    early = outgoing.read()
    with Connect(proxied.port, PROVIDER, credentials(proxied.token), early=early) as connection:
        assert connection.status == 200
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.send(outgoing.read())
                received = connection.receive()
                assert received
                incoming.write(received)
        assert tls.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
@pytest.mark.parametrize(
    "target",
    [
        "http://api.anthropic.com/v1/models",
        "http://api.anthropic.com:443/v1/models",
        "https://api.anthropic.com/v1/models",
        "http://{origin}/",
        "/anthropic/v1/models",
        "/api/v2/ai-gateway/anthropic/v1/models",
        "/healthz",
        "/api/v2/ai-gateway/proxy/ca-cert.pem",
    ],
)
def test_only_connect_is_served(tunnelled: Tunnelled, method: str, target: str) -> None:
    """Plain proxied requests and the gateway's own paths are refused, and no token is passed on."""
    assert tunnelled.origin is not None
    tunnelled.provider.take()
    before = tunnelled.origin.connections
    target = target.format(origin=f"{ALLOWED_ADDRESS}:{tunnelled.origin.port}")
    everything = [*credentials(tunnelled.token), ("x-api-key", tunnelled.token)]
    for headers in (everything, [("x-api-key", tunnelled.token)]):
        answer = raw.ask(
            tunnelled.port,
            raw.request(method, target, headers, host="api.anthropic.com"),
            head=method == "HEAD",
        )
        # Of an https URL on a connection in clear Envoy says so before anybody is asked.
        allowed = (403,) if target.startswith("https") or headers is everything else (407,)
        assert answer.status in allowed
        assert tunnelled.token.encode() not in answer.whole
    assert tunnelled.origin.connections == before
    assert tunnelled.provider.take() == []


def test_connect_over_http2(proxied_tls: Proxied) -> None:
    """CONNECTs of HTTP/2 follow the same rules, one by one on one connection."""
    connection = ConnectH2(proxied_tls.port, proxied_tls.listener_ca)
    with contextlib.closing(connection):
        bare = [(":method", "CONNECT"), (":authority", PROVIDER)]
        good = credentials(proxied_tls.token)
        assert connection.ask(bare)[1] == 407
        assert connection.ask([*bare, *good, *good])[1] == 407
        elsewhere = [(":method", "CONNECT"), (":authority", "example.com:443")]
        assert connection.ask([*elsewhere, *good])[1] == 403
        backslash = [(":method", "CONNECT"), (":authority", r"\097pi.anthropic.com:443")]
        assert connection.ask([*backslash, *good])[1] in (0, 400, 403)
    connection = ConnectH2(proxied_tls.port, proxied_tls.listener_ca)
    with contextlib.closing(connection):
        stream, status = connection.ask([*bare, *good])
        assert status == 200
        context = trusting(proxied_tls.ca_file)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="api.anthropic.com")
        for _ in range(5):
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(connection.exchange(stream, outgoing.read()))
        assert tls.version() == "TLSv1.3"


@pytest.mark.parametrize("protocol", ["websocket", "connect-udp", "connect-ip"])
@pytest.mark.parametrize("authority", ["api.openai.com:443", "api.openai.com", "example.com:443"])
def test_extended_connect(proxied_tls: Proxied, authority: str, protocol: str) -> None:
    """An extended CONNECT (RFC 8441) opens nothing, even with good credentials."""
    assert _extended(proxied_tls, authority, protocol, good=True) in (0, 403, 404)


def test_extended_connect_to_bytes(proxied_tls: Proxied) -> None:
    """The one extended CONNECT that is equivalent to a CONNECT follows the same rules."""
    assert _extended(proxied_tls, PROVIDER, "bytestream", good=False) == 407
    assert _extended(proxied_tls, "example.com:443", "bytestream", good=True) == 403
    assert _extended(proxied_tls, "api.openai.com", "bytestream", good=True) == 403


def _extended(proxy: Proxied, authority: str, protocol: str, *, good: bool) -> int:
    with contextlib.closing(ConnectH2(proxy.port, proxy.listener_ca)) as connection:
        _, status = connection.ask(
            [
                (":method", "CONNECT"),
                (":protocol", protocol),
                (":scheme", "https"),
                (":path", "/v1/responses"),
                (":authority", authority),
                *(credentials(proxy.token) if good else []),
            ]
        )
        return status


def test_answers_name_no_token(proxied: Proxied) -> None:
    """No refusal repeats the password that was sent."""
    for password in ("hunter2", proxied.token[:-1]):
        answer: Answer = connect(proxied.port, PROVIDER, [(HEADER, basic(password))])
        assert answer.status == 407
        assert password.encode() not in answer.whole
