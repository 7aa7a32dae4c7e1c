"""Requests inside the tunnel that pretend to be something else."""

import contextlib
import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.proxy.pairs import HOSTS, Proxied
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, wait_until
from tests.support.raw import Closed, Headers
from tests.support.requests import CREDENTIAL_HEADERS, leaks
from tests.support.tls import Connect, basic, credentials, trusting
from tests.support.together import together

ANTHROPIC = HOSTS["anthropic"]
OPENAI = HOSTS["openai"]
GOVERNANCE = "x-coder-ai-governance-token"


@pytest.fixture
def inside(proxied: Proxied) -> Iterator[Connect]:
    """A tunnel of alice to Anthropic, with TLS on."""
    with Connect(proxied.port, f"{ANTHROPIC}:443", credentials(proxied.token)) as connection:
        connection.start_tls(trusting(proxied.ca_file), ANTHROPIC)
        proxied.provider.take()
        yield connection


@pytest.fixture(scope="module")
def bob(proxied: Proxied) -> str:
    """A token of bob."""
    return proxied.pair.create_token("bob")


def _models(headers: Headers = (), host: str | None = ANTHROPIC) -> bytes:
    return raw.request("GET", "/v1/models", headers, host=host)


def _forgeries(bob: str, alice: str) -> dict[str, Headers]:
    unknown = f"{'x' * 10}-{'y' * 22}"
    return {
        "governance of bob": [(GOVERNANCE, bob)],
        "governance, odd case": [("X-CODER-ai-Governance-TOKEN", bob)],
        "governance unknown": [(GOVERNANCE, unknown)],
        "governance empty": [(GOVERNANCE, "")],
        "governance twice": [(GOVERNANCE, bob), (GOVERNANCE, unknown)],
        "governance, connection": [(GOVERNANCE, bob), ("connection", GOVERNANCE)],
        "connection alone": [("connection", f"{GOVERNANCE}, x-request-id, x-api-key")],
        "proxy-authorization": [("proxy-authorization", basic(bob))],
        "proxy-connection": [("proxy-connection", "keep-alive"), ("proxy-anything", bob)],
        "request id": [("x-request-id", "forged"), ("x-coder-ai-governance-request-id", "forged")],
        "internal names": [
            ("authz.proxy.token", bob),
            ("authz.proxy.session", "forged"),
            ("x-envoy-peer-metadata", "forged"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-envoy-original-path", "/v1/organizations"),
        ],
        "token of bob as credential": [("x-api-key", bob)],
        "token of bob as bearer": [("authorization", f"Bearer {bob}")],
        "own tokens everywhere": [
            (GOVERNANCE, alice),
            ("x-api-key", alice),
            ("authorization", f"Bearer {alice}"),
            ("coder-session-token", alice),
            ("cookie", f"coder_session_token={alice}"),
            ("x-anything", alice),
        ],
    }


@pytest.mark.parametrize("name", list(_forgeries("b", "a")))
def test_forged_headers(proxied: Proxied, inside: Connect, bob: str, name: str) -> None:
    """Gateway headers that a client forges have no effect, and never reach the provider."""
    answer = inside.ask(_models(_forgeries(bob, proxied.token)[name]))
    assert answer.status == 200
    (seen,) = proxied.provider.take()
    held = [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS]
    assert held == [("x-api-key", CENTRAL_KEYS["anthropic"])]
    assert leaks(seen, [proxied.token[11:], bob[11:], "y" * 22]) == []
    for header, _ in seen.headers:
        assert not header.startswith(("proxy-", "x-coder-", "coder-", "x-envoy-", "x-forwarded-"))
        assert header != "x-request-id"


def test_forged_headers_do_not_change_the_user(proxied: Proxied, inside: Connect, bob: str) -> None:
    """A request inside is logged for the user of the CONNECT, whatever headers it carries."""
    forgeries = _forgeries(bob, proxied.token)
    for number, headers in enumerate(forgeries.values()):
        inside.ask(raw.request("GET", f"/v1/models/forged-{number}", headers, host=ANTHROPIC))
    last = f"/v1/models/forged-{len(forgeries) - 1}"
    wait_until(lambda: last in proxied.pair.stdout, 5, "the access log lines")
    lines = [line for line in proxied.log() if (line["path"] or "").startswith("/v1/models/forged")]
    assert len(lines) == len(forgeries)
    for line in lines:
        assert line["user"] == "alice"
        assert "forged" not in (line["request_id"], line["proxy_session"])


@pytest.mark.parametrize(
    "name", ["x_coder_ai_governance_token", "x_api_key", "x-api_key", "session_id"]
)
def test_header_with_underscores(proxied: Proxied, inside: Connect, bob: str, name: str) -> None:
    """A header name with underscores, which some servers read as hyphens, is not passed on."""
    assert inside.ask(_models([(name, bob)])).status == 200
    (seen,) = proxied.provider.take()
    assert not [header for header, _ in seen.headers if "_" in header]
    assert leaks(seen, [bob[11:]]) == []


@pytest.mark.parametrize("upgrade", ["TLS/1.2", "h2c", "tls/1.2, foo", "connect-udp"])
def test_unknown_upgrade_inside(proxied: Proxied, inside: Connect, upgrade: str) -> None:
    """An upgrade to an unknown protocol is ignored, also inside the tunnel."""
    offer = [("connection", "Upgrade"), ("upgrade", upgrade)]
    assert inside.ask(_models(offer)).status == 200
    (seen,) = proxied.provider.take()
    assert seen.all("upgrade") == seen.all("connection") == []


def test_http_1_0_inside(proxied: Proxied, inside: Connect) -> None:
    """HTTP/1.0 is served inside the tunnel for the tunnel's host alone."""
    answer = inside.ask(raw.request("GET", "/v1/models", version="HTTP/1.0", host=ANTHROPIC))
    assert answer.status == 200
    assert len(proxied.provider.take()) == 1


@pytest.mark.parametrize("host", [None, OPENAI])
def test_http_1_0_inside_for_another_host(
    proxied: Proxied, inside: Connect, host: str | None
) -> None:
    """HTTP/1.0 without a Host, or with another one, is refused inside the tunnel."""
    answer = inside.ask(raw.request("GET", "/v1/models", version="HTTP/1.0", host=host))
    assert answer.status in (400, 421)
    assert proxied.provider.take() == []


@pytest.mark.parametrize("count", [*range(90, 106), 120, 140])
def test_many_headers_inside(proxied: Proxied, inside: Connect, count: int) -> None:
    """Up to 100 header fields are served inside the tunnel, and more are a 431; never a 5xx."""
    answer = inside.ask(_models([(f"x-many-{number}", "1") for number in range(count)]))
    assert answer.status in ((200,) if count < 100 else (200, 431) if count < 110 else (431,))
    assert len(proxied.provider.take()) == (answer.status == 200)


def test_own_key_twice(proxied: Proxied, inside: Connect) -> None:
    """Two own credentials in one header are refused as on the gateway listener."""
    own = ("x-api-key", OWN_KEYS["anthropic"])
    assert inside.ask(_models([own, own])).status == 400
    assert proxied.provider.take() == []


@pytest.mark.parametrize(
    "host",
    [
        OPENAI,
        f"{OPENAI}:443",
        "chatgpt.com",
        "example.com",
        "127.0.0.1",
        f"{ANTHROPIC}:8443",
        f"{ANTHROPIC}.example.com",
        f"x.{ANTHROPIC}",
        "anthropic.com",
        f"{ANTHROPIC}..",
        "*",
    ],
)
def test_other_host_inside(proxied: Proxied, inside: Connect, host: str) -> None:
    """A Host other than the CONNECT's is a 421, including the host of another provider."""
    answer = inside.ask(_models(host=host))
    assert answer.status == 421
    assert proxied.provider.take() == []


@pytest.mark.parametrize("host", [ANTHROPIC.upper(), f"{ANTHROPIC}.", f"{ANTHROPIC}:443"])
def test_same_host_inside(proxied: Proxied, inside: Connect, host: str) -> None:
    """The host in upper case, with a trailing dot or its port is the same host."""
    assert inside.ask(_models(host=host)).status == 200
    (seen,) = proxied.provider.take()
    assert seen.provider == "anthropic"


@pytest.mark.parametrize(
    "data",
    [
        _models(host=None),
        _models([("host", OPENAI)]),
        raw.request("GET", "/v1/models", host=f"{ANTHROPIC}, {OPENAI}"),
        raw.request("GET", f"https://x@{OPENAI}/v1/models", host=ANTHROPIC),
    ],
    ids=["none", "two", "comma", "user in URL"],
)
def test_no_single_host_inside(proxied: Proxied, inside: Connect, data: bytes) -> None:
    """A request inside without one valid Host is refused."""
    assert inside.ask(data).status in (400, 421)
    assert proxied.provider.take() == []


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_absolute_form_inside(proxied: Proxied, inside: Connect, scheme: str) -> None:
    """An absolute URL inside overrides the Host header, and may not name another host."""
    foreign = inside.ask(raw.request("GET", f"{scheme}://{OPENAI}/v1/models", host=ANTHROPIC))
    assert foreign.status in (400, 403, 421)
    assert proxied.provider.take() == []


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "OPTIONS", "PUT", "DELETE"])
def test_other_methods_inside(proxied: Proxied, inside: Connect, method: str) -> None:
    """A CONNECT inside the tunnel, or a method that no path of the provider takes, is refused."""
    target = f"{OPENAI}:443" if method == "CONNECT" else "/v1/models"
    with contextlib.suppress(Closed):
        answer = inside.ask(raw.request(method, target, credentials(proxied.token), host=ANTHROPIC))
        assert answer.status in (400, 403, 404, 405, 421)
    assert proxied.provider.take() == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/ai-gateway/openai/v1/models",
        "/openai/v1/models",
        "/anthropic/v1/models",
        "/v1/../openai/v1/models",
        "/v1/models/../../v1/organizations",
        "/v1/%2e%2e/openai/v1/models",
        "/proxy/ca-cert.pem",
        "/metrics",
        "/",
        "/v1/models/..%2F..%2Fv1/organizations",
        "/v1/models/%2e%2e%2Fmessages",
        "/v1/models/x%5C..%5Cy",
        "/v1/models/x%252F..",
        "/v1/files%2Fx",
        "/v1%2Fmodels",
        "/api/oauth/profile",
        "/api/hello/../oauth/profile",
        "/api/hello%2Fx",
        "/api/hellox",
        "/v1/organizations/api_keys",
    ],
)
def test_other_paths_inside(proxied: Proxied, inside: Connect, path: str) -> None:
    """The gateway's own paths and detours out of the provider's paths are not served inside."""
    assert inside.ask(raw.request("GET", path, host=ANTHROPIC)).status in (400, 404)
    assert proxied.provider.take() == []


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", "{token}")],
        [("authorization", "Bearer {token}")],
        [("authorization", "Bearer x{token}"), ("x-api-key", "{token}")],
        [("authorization", "Basic c2stYW50LW93bg==")],
        [("authorization", "Bearer")],
        [("x-api-key", " ")],
        [("cookie", "sessionKey=sk-ant-own")],
        [("api-key", "sk-ant-own")],
        [("x-goog-api-key", "sk-ant-own")],
    ],
)
def test_no_central_key_on_a_path_that_is_not_listed(
    proxied: Proxied, inside: Connect, headers: Headers
) -> None:
    """The company's key is used on listed paths only, whatever replaces an own credential."""
    written = [(name, str(value).format(token=proxied.token)) for name, value in headers]
    for path in ("/api/oauth/profile", "/v1/organizations/api_keys", "/v1/files"):
        answer = inside.ask(raw.request("GET", path, written, host=ANTHROPIC))
        assert answer.status in (400, 404)
        assert proxied.provider.take() == []


def test_nonsense_of_ones_own(proxied: Proxied, inside: Connect) -> None:
    """An invalid credential passes as the user's own, and the provider refuses it."""
    nonsense = [("authorization", "Bearer nonsense")]
    answer = inside.ask(raw.request("GET", "/v1/organizations", nonsense, host=ANTHROPIC))
    assert answer.status == 401
    (seen,) = proxied.provider.take()
    held = [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS]
    assert held == [("authorization", "Bearer nonsense")]


@pytest.mark.parametrize("server_name", [None, OPENAI, "example.com", "localhost"])
def test_sni_chooses_nothing(proxied: Proxied, server_name: str | None) -> None:
    """The CONNECT decides on certificate and provider, without SNI or with another name in it."""
    context = trusting(proxied.ca_file)
    context.check_hostname = False
    with Connect(proxied.port, f"{ANTHROPIC}:443", credentials(proxied.token)) as connection:
        connection.start_tls(context, server_name)
        certificate = connection.tls.getpeercert()
        assert certificate is not None
        assert certificate["subjectAltName"] == (("DNS", ANTHROPIC),)
        proxied.provider.take()
        assert connection.ask(_models(host=OPENAI)).status == 421
        assert connection.ask(_models()).status == 200
        (seen,) = proxied.provider.take()
        assert seen.provider == "anthropic"


def test_other_host_over_http2(proxied: Proxied) -> None:
    """Another authority over HTTP/2 is a 421 too, since a connection is for one host only."""
    context = trusting(proxied.ca_file, alpn=("h2",))
    proxied.provider.take()
    with httpx.Client(proxy=proxied.url, verify=context, http2=True) as client:
        answer = client.get(f"https://{ANTHROPIC}/v1/models", headers={"host": OPENAI})
    assert answer.http_version == "HTTP/2"
    assert answer.status_code == 421
    assert proxied.provider.take() == []


def test_plain_bytes(proxied: Proxied) -> None:
    """Bytes that are not TLS are not served in a provider's tunnel, on port 80 either."""

    def ask(data: bytes) -> None:
        port = 80 if data.startswith(b"GET") else 443
        with Connect(proxied.port, f"{ANTHROPIC}:{port}", credentials(proxied.token)) as connection:
            assert connection.status == 200
            with contextlib.suppress(Closed):
                connection.send(data)
            assert b"HTTP/" not in connection.receive()
            assert connection.is_closed(20)

    proxied.provider.take()
    ssh, http2 = b"SSH-2.0-OpenSSH_9.6\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    together(ask, (_models(), ssh, http2))
    assert proxied.provider.take() == []


def test_pipelined_requests(proxied: Proxied, inside: Connect) -> None:
    """Requests in one segment are checked one by one: the second is refused on its own."""
    twice = [("x-api-key", "a"), ("x-api-key", "b")]
    inside.send(_models() + _models(twice) + _models(host=OPENAI))
    assert [inside.read().status for _ in range(2)] == [200, 400]
    with contextlib.suppress(Closed):
        assert inside.read().status == 421
    assert len(proxied.provider.take()) == 1


def test_session_resumption_keeps_the_user(proxied: Proxied, bob: str) -> None:
    """A TLS session resumed in another user's tunnel does not carry its token along."""
    context = trusting(proxied.ca_file)
    with Connect(proxied.port, f"{ANTHROPIC}:443", credentials(bob)) as first:
        first.start_tls(context, ANTHROPIC)
        assert first.ask(_models()).status == 200
        session = first.tls.session
    path = "/v1/models/resumed"
    with Connect(proxied.port, f"{ANTHROPIC}:443", credentials(proxied.token)) as second:
        plain = second._socket
        second._socket = context.wrap_socket(plain, server_hostname=ANTHROPIC, session=session)
        assert second.ask(raw.request("GET", path, host=ANTHROPIC)).status in (200, 404)
    wait_until(lambda: path in proxied.pair.stdout, 5, "the access log line")
    assert [line["user"] for line in proxied.log() if line["path"] == path] == ["alice"]


def test_leaf_does_not_sign(proxied: Proxied) -> None:
    """The certificate inside is a server certificate and can't act as a CA."""
    with Connect(proxied.port, f"{ANTHROPIC}:443", credentials(proxied.token)) as connection:
        context = trusting(proxied.ca_file)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        connection.start_tls(context, ANTHROPIC)
        assert connection.issuer() == "AI Gateway Proxy"
