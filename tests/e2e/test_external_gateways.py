"""External gateways: authz behind Envoys as configured by Envoy Gateway and by Istio."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.envoy.filters import CHECK_SECONDS
from tests.support import raw
from tests.support.external_envoys import (
    EARLIER,
    HOST,
    ExternalGateways,
    configuration,
    earlier_envoy,
    external_gateways,
    stopped,
)
from tests.support.pair import (
    BUSY,
    CENTRAL_KEYS,
    OWN_KEYS,
    SUBSCRIPTION,
    Provider,
    wait_until,
)
from tests.support.parts import parts
from tests.support.provider import RecordedRequest
from tests.support.raw import Answer, Headers

SHAPES = ("envoy-gateway", "istio")
PATCHED = "envoy-gateway, patched"
"""A gateway whose operator has switched raw headers on (EnvoyPatchPolicy)."""
SOME_PATHS = "istio, some paths"
"""A gateway whose AuthorizationPolicy names a path."""
NAMES = [*(f"{shape} {version}" for shape in SHAPES for version in ("1.40.0", EARLIER)), PATCHED]
BODY = b'{"model":"claude-sonnet-4-5","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}'
MESSAGES = "/anthropic/v1/messages"
CHAT = "/openai/v1/chat/completions"
GOVERNANCE = "x-coder-ai-governance-token"
ENVOYS_OWN = {
    *("x-envoy-expected-rq-timeout-ms", "x-envoy-original-path", "x-envoy-original-host"),
    "x-forwarded-host",
}
"""Headers that the gateway's router adds after authz's answer; their settings differ."""


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[ExternalGateways]:
    """One authz behind four gateways."""
    programs = {"1.40.0": None, EARLIER: earlier_envoy()}
    configs = {
        f"{shape} {version}": (configuration(shape), program)
        for shape in SHAPES
        for version, program in programs.items()
    }
    raw_headers = '"transport_api_version": "V3",'
    patched = configuration("envoy-gateway").replace(
        raw_headers, f'{raw_headers} "encode_raw_headers": true,'
    )
    configs |= {
        PATCHED: (patched, None),
        SOME_PATHS: (configuration("istio", every_request=False), None),
    }
    with external_gateways(provider, configs) as started:
        yield started


@pytest.fixture(scope="module")
def token(running: ExternalGateways) -> str:
    """A valid token of alice's."""
    return running.create_token("alice")


@pytest.fixture(params=NAMES)
def port(request: pytest.FixtureRequest, running: ExternalGateways) -> int:
    """The port of one gateway."""
    running.provider.take()
    return running.ports[request.param]


class Gateway:
    """One gateway, and the requests that reach the provider through it."""

    def __init__(self, running: ExternalGateways, port: int, token: str) -> None:
        self.running, self.port, self.token = running, port, token

    def send(
        self,
        method: str = "POST",
        path: str = MESSAGES,
        headers: Headers | None = None,
        **options: str,
    ) -> tuple[Answer, list[RecordedRequest]]:
        """Send a request, with a valid token unless headers are given."""
        if headers is None:
            headers = [("x-api-key", self.token)]
        body = BODY if method == "POST" else b""
        data = raw.request(method, path, headers, body, host=options.get("host", HOST))
        answer = raw.ask(self.port, data, timeout=30)
        seen = self.running.provider.take()
        secret = self.token.partition("-")[2]
        assert secret.encode() not in answer.whole
        for key in CENTRAL_KEYS.values():
            assert key.encode() not in answer.whole
        for visit in seen:
            text = "\n".join([visit.path, visit.query, *(value for _, value in visit.headers)])
            assert secret not in text, "a Coder token has reached the provider"
        return answer, seen


@pytest.fixture
def gateway(running: ExternalGateways, port: int, token: str) -> Gateway:
    """One gateway."""
    return Gateway(running, port, token)


def test_three_kinds_of_credential(gateway: Gateway) -> None:
    """The provider gets only the central key, the own key, or the own subscription."""
    cases: list[tuple[str, Headers, str, str]] = [
        (MESSAGES, [("x-api-key", gateway.token)], "x-api-key", CENTRAL_KEYS["anthropic"]),
        (
            CHAT,
            [("authorization", f"Bearer {gateway.token}")],
            "authorization",
            f"Bearer {CENTRAL_KEYS['openai']}",
        ),
        (
            MESSAGES,
            [(GOVERNANCE, gateway.token), ("x-api-key", OWN_KEYS["anthropic"])],
            "x-api-key",
            OWN_KEYS["anthropic"],
        ),
        (
            MESSAGES,
            [(GOVERNANCE, gateway.token), ("authorization", f"Bearer {SUBSCRIPTION}")],
            "authorization",
            f"Bearer {SUBSCRIPTION}",
        ),
    ]
    for path, headers, name, value in cases:
        answer, seen = gateway.send(path=path, headers=headers)
        assert answer.status == 200, answer
        (visit,) = seen
        assert visit.all(name) == [value]
        others = {GOVERNANCE, "authorization", "x-api-key"} - {name}
        assert not any(visit.all(other) for other in others)


def test_a_revoked_token(gateway: Gateway) -> None:
    """A deleted token is refused at the next request."""
    token = gateway.running.create_token("bob")
    assert gateway.send(headers=[("x-api-key", token)])[0].status == 200
    gateway.running.delete_token(token)
    answer, seen = gateway.send(headers=[("x-api-key", token)])
    assert answer.status == 401
    assert answer.header("www-authenticate") == "Bearer"
    assert answer.header("x-should-retry") == "false"
    assert answer.error["type"] == "authentication_error"
    assert seen == []


@pytest.mark.parametrize("header", [GOVERNANCE, "authorization", "x-api-key", "x-goog-api-key"])
def test_joined_and_odd_headers(gateway: Gateway, header: str) -> None:
    """A credential header that is sent twice, or has odd bytes, is a 400 in the provider's JSON."""
    value = f"Bearer {gateway.token}" if header == "authorization" else gateway.token
    base = [] if header == GOVERNANCE else [(GOVERNANCE, gateway.token)]
    for first, second in ((value, value), (value, "x"), ("x", value)):
        answer, seen = gateway.send(headers=[*base, (header, first), (header.title(), second)])
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
        assert seen == []
    for odd in (f"{value}\xff", f"{value}\xe9\xe9", f"{value}!"):
        if odd.endswith("!") and gateway.port == gateway.running.ports[PATCHED]:
            continue  # raw headers are as the client sent them
        answer, seen = gateway.send(headers=[*base, (header, odd)])
        assert answer.status == 400
        assert seen == []


CLIMBING = [
    "/anthropic/v1/models/../files",
    "/anthropic/v1/models/%2e%2e/files",
    "/anthropic/v1/models/%252e%252e/files",
    "/anthropic/v1/models/..%2ffiles",
    "/anthropic/v1/models/..%5cfiles",
    "/anthropic/v1/models/%2fx",
    "/anthropic/v1/models/a%00b",
    "/anthropic/v1/models/a\\..\\..\\files",
    "/anthropic/v1/models/..;/files",
    "/anthropic/v1/models/x;y",
    "/anthropic/v1/models/.%2e/files",
    "/anthropic/v1/models/%c0%ae%c0%ae/files",
    "/anthropic/v1/models/x%23",
    "/anthropic/../anthropic/v1/files",
    "/anthropic/./v1/files",
    "/anthropic//v1/files",
    "//anthropic/v1/files",
    "/anthropic/v1/files",
    "/anthropic/v1/Messages",
    "/Anthropic/v1/messages",
    "/%61nthropic/v1/files",
    "/anthropic",
    "/anthropic/",
    "/anthropicx/v1/messages",
    "/openai/v1/files",
    "/openai/v1/organization/users",
    f"http://{HOST}/anthropic/v1/files",
    "*",
]


@pytest.mark.parametrize("path", CLIMBING)
def test_paths(gateway: Gateway, path: str) -> None:
    """No unlisted path reaches the provider, in any spelling."""
    for method in ("GET", "POST", "DELETE"):
        try:
            answer, seen = gateway.send(method, path)
        except raw.Closed:
            seen = gateway.running.provider.take()
        else:
            # Envoy itself answers 400 or redirects what it does not take.
            assert answer.status in (307, 400, 404)
        assert seen == []


def test_http2(gateway: Gateway) -> None:
    """HTTP/2 does not bypass the rules, with doubled headers or with odd pseudo-headers."""
    valid = {":method": "POST", ":scheme": "http", ":path": MESSAGES, ":authority": HOST}
    key = ("x-api-key", gateway.token)
    for harmless in ({}, {":scheme": "file"}):
        asked = [*(valid | harmless).items(), key]
        assert raw.ask_h2(gateway.port, asked, BODY, 30).status == 200
    gateway.running.provider.take()
    attacks: list[tuple[dict[str, str], list[tuple[str, str]]]] = [
        ({}, [key, key]),
        ({}, [key, ("x-api-key", "x")]),
        ({":path": "/anthropic/v1/files"}, [key]),
        ({":path": f"{MESSAGES}#/v1/files"}, [key]),
        ({":path": "/anthropic/v1/models/%2e%2e/files"}, [key]),
        ({":method": "DELETE"}, [key]),
        ({":method": "post"}, [key]),
    ]
    if gateway.port == gateway.running.ports[NAMES[0]]:
        # Envoy takes a second to close a connection that breaks the protocol.
        attacks += [
            ({":path": f"http://{HOST}/anthropic/v1/files"}, [key]),
            ({":path": ""}, [key]),
            ({":method": "CONNECT"}, [key]),
            ({":method": "CONNECT", ":protocol": "websocket"}, [key]),
        ]
    headers_of = [[*(valid | change).items(), *headers] for change, headers in attacks]

    def status(headers: Headers) -> int:
        try:
            return raw.ask_h2(gateway.port, headers, BODY, 30).status
        except raw.Closed:
            return 0

    with ThreadPoolExecutor(len(attacks)) as pool:
        statuses = list(pool.map(status, headers_of))
    assert set(statuses) <= {0, 307, 400, 404, 426, 501, 503}, list(
        zip(statuses, attacks, strict=True)
    )
    assert gateway.running.provider.take() == []


HOSTS = {
    "GATEWAY.TEST": 200,
    "gateway.test:8443": 200,
    "gateway.test.": 503,
    "user@gateway.test": 503,
    "gateway.test@other.test": 503,
    "gateway.test:x": 503,
    "other.test": 503,
    "x.gateway.test": 503,
    "": 503,
}


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(gateway: Gateway, running: ExternalGateways, host: str) -> None:
    """A route that is bound by its host is bound to one spelling only."""
    is_istio = any(
        name.startswith("istio") for name, port in running.ports.items() if port == gateway.port
    )
    answer, seen = gateway.send(host=host)
    # Envoy refuses some of these itself. Envoy Gateway's routes are not bound by hosts.
    wanted = HOSTS[host] if is_istio else 200
    assert answer.status in (400, wanted)
    assert len(seen) == (answer.status == 200)


def test_the_access_log_names_the_user(gateway: Gateway, running: ExternalGateways) -> None:
    """Envoy Gateway's access log has user, mode and provider of a request, and no token."""
    if running.ports[NAMES[0]] != gateway.port:
        return
    gateway.send()
    wait_until(lambda: '"user":"alice"' in running.stdout)
    (line, *_) = [line for line in running.stdout.splitlines() if '"user":"alice"' in line]
    entry = json.loads(line)
    assert (entry["mode"], entry["provider"]) == ("centralized", "anthropic")
    assert gateway.token.partition("-")[2] not in running.stdout


def test_methods(gateway: Gateway) -> None:
    """A listed path accepts only the listed methods, in capital letters."""
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "TRACE", "MKCOL"):
        try:
            answer, seen = gateway.send(method)
        except raw.Closed:
            continue
        assert answer.status in (400, 404)
        assert seen == []


def test_unlisted_paths_tell_strangers_nothing(gateway: Gateway) -> None:
    """An unlisted path is a 401 without a token, like a listed one."""
    for path in (MESSAGES, "/anthropic/v1/files"):
        answer, seen = gateway.send(path=path, headers=[])
        assert (answer.status, seen) == (401, [])


def test_stray_tokens_and_forged_headers(gateway: Gateway) -> None:
    """Coder tokens in other headers and forged gateway headers are not passed on."""
    forged = {
        "x-envoy-foo": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-original-path": "/forged",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-decorator-operation": "forged",
        "x-coder-owner": "forged",
        "x-ai-bridge-actor-id": "forged",
        "x-forwarded-host": "forged",
        "x-original-url": "/forged",
        "x-http-method-override": "DELETE",
        "forwarded": "for=192.0.2.1",
        "via": "1.1 forged",
        "cookie": "a=b",
        "proxy-foo": "forged",
        "x-stray": f"a {gateway.token} b",
    }
    headers = [("x-api-key", gateway.token), *forged.items(), ("x-stays", "1")]
    answer, seen = gateway.send(headers=headers)
    assert answer.status == 200, answer
    (visit,) = seen
    assert visit.all("x-stays") == ["1"]
    for name in forged:
        values = visit.all(name)
        assert values == [] or name in ENVOYS_OWN
        assert "forged" not in "".join(values)
    left = {name for name, _ in visit.headers if name.startswith(("x-envoy-", "x-forwarded-"))}
    # `proxyHeaders.envoyDebugHeaders: DISABLED` switches those of Istio off.
    assert left <= ENVOYS_OWN


def test_tokens_in_the_url(gateway: Gateway) -> None:
    """A Coder token in the URL is a 400."""
    answer, seen = gateway.send(path=f"{MESSAGES}?key={gateway.token}")
    assert (answer.status, seen) == (400, [])


def test_a_gateway_that_fails_open_in_front(gateway: Gateway) -> None:
    """A request that an Envoy in front let pass is refused, and the log names its setting."""
    headers = [("x-api-key", gateway.token), ("x-envoy-auth-failure-mode-allowed", "true")]
    answer, seen = gateway.send(headers=headers)
    assert (answer.status, seen) == (503, [])
    assert "failOpen: false" in gateway.running.stderr


def _handshake(path: str, *headers: tuple[str, str]) -> bytes:
    upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    return raw.request("GET", path, [*upgrade, *headers], host=HOST)


def test_websockets(gateway: Gateway) -> None:
    """A WebSocket passes if the provider has one, and else is a 426, so that Codex uses HTTP."""
    bearer = ("authorization", f"Bearer {gateway.token}")
    for path in (MESSAGES, CHAT, "/anthropic/v1/models"):
        answer = raw.ask(gateway.port, _handshake(path, bearer), timeout=30)
        assert answer.status == 426, answer
        assert answer.error["type"] == "invalid_request_error"
    assert raw.ask(gateway.port, _handshake("/openai/v1/files", bearer), timeout=30).status == 404
    assert raw.ask(gateway.port, _handshake(CHAT), timeout=30).status == 401
    assert gateway.running.provider.take() == []
    with raw.Connection(gateway.port, 30) as connection:
        connection.send(_handshake("/openai/v1/responses", bearer))
        assert connection.read_status() == 101
    (visit,) = gateway.running.provider.take()
    assert visit.all("authorization") == [f"Bearer {CENTRAL_KEYS['openai']}"]


def test_no_binding(running: ExternalGateways, token: str) -> None:
    """A host or an HTTPRoute that gateway.yaml does not name gets a 503, and never a key."""
    running.provider.take()
    data = raw.request("POST", MESSAGES, [("x-api-key", token)], BODY, host="other.test")
    for name, answer in running.from_all(data).items():
        # Envoy Gateway names the HTTPRoute, whatever the host is.
        assert answer.status == (503 if name.startswith("istio") else 200)
        if answer.status == 503:
            assert answer.header("retry-after") == "2"
            assert answer.error["type"] == "api_error"
    assert len(running.provider.take()) == sum(name.startswith("envoy") for name in running.ports)
    assert "add the host to external_gateways.routes" in running.stderr


def test_only_some_paths_are_asked_about(running: ExternalGateways, token: str) -> None:
    """Istio passes unlisted paths unchecked, with all headers, which the manifests must avoid."""
    running.provider.take()
    for path, received in (("/anthropic/v1/files", []), ("/anthropic/v2/x", [token])):
        data = raw.request("GET", path, [("x-api-key", token)], host=HOST)
        raw.ask(running.ports[SOME_PATHS], data, timeout=30)
        seen = running.provider.take()
        assert [value for visit in seen for value in visit.all("x-api-key")] == received


LIMIT_SECONDS = BUSY * CHECK_SECONDS


def _all_503(running: ExternalGateways, token: str) -> dict[str, Answer]:
    data = raw.request("POST", MESSAGES, [("x-api-key", token)], BODY, host=HOST)
    answers = running.from_all(data, timeout=LIMIT_SECONDS * 4)
    assert {answer.status for answer in answers.values()} == {503}
    assert running.provider.take() == []
    return answers


def test_authz_down_slow_and_stopped(running: ExternalGateways, token: str) -> None:
    """Every gateway answers 503 without an answer of authz, and recovers when authz is back."""
    running.provider.take()
    assert running.authz is not None
    with stopped(running.authz.pid):
        _all_503(running, token)
    running.end_authz(signal.SIGKILL)
    _all_503(running, token)
    running.start_authz(
        patch="""
        async def slow(self, message):
            await asyncio.sleep(0)
            await asyncio.sleep(60)
        Authorizer.answer = slow
        """,
        wait=False,
    )
    _all_503(running, token)
    running.end_authz(signal.SIGKILL)
    running.start_authz()
    running.provider.take()
    data = raw.request("POST", MESSAGES, [("x-api-key", token)], BODY, host=HOST)
    assert {answer.status for answer in running.from_all(data).values()} == {200}
    running.provider.take()


def test_an_identity_source_that_is_down(running: ExternalGateways, token: str) -> None:
    """Authz's own 503 has the provider's JSON and Retry-After, on every version."""
    running.end_authz(signal.SIGKILL)
    running.start_authz(
        patch="""
        from authz.errors import IdentityUnavailable
        def fails(self, token):
            raise IdentityUnavailable("down")
        SQLiteSource.verify_now = fails
        """,
        wait=False,
    )
    # Before authz listens, each gateway answers 503 by itself.
    data = raw.request("POST", MESSAGES, [("x-api-key", token)], BODY, host=HOST)
    wait_until(lambda: all(answer.body for answer in running.from_all(data).values()))
    for answer in _all_503(running, token).values():
        assert answer.error["type"] == "api_error"
        assert answer.header("retry-after") == "2"
    running.end_authz(signal.SIGKILL)
    running.start_authz()


def test_our_own_envoy_beside_them(
    provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An authz that serves other gateways still serves the project's own Envoy, by its secret."""
    secret = tmp_path_factory.mktemp("own") / "secret"
    secret.write_text("own-envoy-0123456789abcdef0123456789")
    external = {
        "routes": [{"httproute": "a/b", "path": "/anthropic", "provider": "anthropic"}],
        "envoy_secret": {"file": str(secret)},
    }
    with parts(provider, external_gateways=external) as own:
        token = own.create_token("alice")
        provider.take()
        valid: Headers = [("x-api-key", token)]
        for method, path, headers, status in (
            ("POST", MESSAGES, valid, 200),
            ("POST", MESSAGES, [("x-api-key", "sk-ant-x,y")], 401),
            ("POST", "/anthropic/v1/files", valid, 404),
            ("GET", "/nobody", valid, 404),
            ("GET", "/nobody", [], 401),
            ("GET", "/healthz", [], 200),
        ):
            body = BODY if method == "POST" else b""
            answer = raw.ask(own.port, raw.request(method, path, headers, body), timeout=30)
            assert answer.status == status, path
        (visit,) = provider.take()
        assert visit.all("x-api-key") == [CENTRAL_KEYS["anthropic"]]
