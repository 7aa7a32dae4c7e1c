"""Other hosts than a provider's: tunnelled undecrypted or refused; and a company's proxy."""

import time

import httpx
import pytest

from tests.e2e.proxy.pairs import ALLOWED_ADDRESS, CLOSED_ADDRESS, Proxied, Tunnelled
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, wait_until
from tests.support.tls import Connect, connect, credentials, trusting


def _through(proxy: Tunnelled, authority: str) -> tuple[str, bytes]:
    """Return the issuer of the certificate that the client sees, and the body of an answer."""
    with Connect(proxy.port, authority, credentials(proxy.token)) as connection:
        context = trusting(proxy.origin_ca)
        connection.start_tls(context, "127.0.0.1" if proxy.upstream else ALLOWED_ADDRESS)
        answer = connection.ask(raw.request())
        return connection.issuer(), answer.body


def test_other_host_is_not_decrypted(tunnelled: Tunnelled) -> None:
    """The client sees the origin's own certificate through a tunnel."""
    assert tunnelled.origin is not None
    tunnelled.names.set("origin.test", [ALLOWED_ADDRESS])
    issuer, body = _through(tunnelled, f"origin.test:{tunnelled.origin.port}")
    assert issuer == "origin-ca"
    assert body == b"origin"


def test_allowed_private_address(tunnelled: Tunnelled) -> None:
    """A private address in ``allowed_private_cidrs`` is reached, and the next one is not."""
    assert tunnelled.origin is not None
    assert _through(tunnelled, f"{ALLOWED_ADDRESS}:{tunnelled.origin.port}")[1] == b"origin"
    answer = connect(
        tunnelled.port, f"127.0.0.3:{tunnelled.origin.port}", credentials(tunnelled.token)
    )
    assert answer.status == 403
    assert answer.error["code"] == "private_address"


def test_tunnel_needs_a_token(tunnelled: Tunnelled) -> None:
    """A client without a token gets no tunnel, so the proxy is not an open relay."""
    assert tunnelled.origin is not None
    before = tunnelled.origin.connections
    answer = connect(tunnelled.port, f"{ALLOWED_ADDRESS}:{tunnelled.origin.port}")
    assert answer.status == 407
    assert tunnelled.origin.connections == before


def test_host_that_does_not_exist(tunnelled: Tunnelled) -> None:
    """A name without an address is a 502."""
    answer = connect(tunnelled.port, "nowhere.test:443", credentials(tunnelled.token))
    assert answer.status == 502
    assert answer.error["code"] == "host_unreachable"


def test_host_that_refuses(tunnelled: Tunnelled) -> None:
    """A host whose port is closed is a 502."""
    tunnelled.names.set("closed.test", [CLOSED_ADDRESS])
    answer = connect(tunnelled.port, "closed.test:443", credentials(tunnelled.token))
    assert answer.status == 502


def test_tunnels_off(proxied_tls: Proxied) -> None:
    """With ``tunnel: false`` a host that is not a provider's is a 403, and providers are served."""
    assert proxied_tls.listener_ca is not None
    listener = trusting(proxied_tls.listener_ca)
    for authority in ("example.com:443", "example.com:80", "93.184.216.34:443"):
        answer = connect(
            proxied_tls.port, authority, credentials(proxied_tls.token), listener=listener
        )
        assert answer.status == 403
    answer = connect(
        proxied_tls.port, "api.openai.com:443", credentials(proxied_tls.token), listener=listener
    )
    assert answer.status == 200


def test_tunnel_through_the_company_proxy(behind: Tunnelled) -> None:
    """A tunnel goes out through the company's proxy, which sees the target but no headers."""
    assert behind.upstream is not None
    behind.upstream.heads.clear()
    headers = [
        *credentials(behind.token),
        ("x-coder-ai-governance-token", behind.token),
        ("x-api-key", behind.token),
        ("cookie", f"coder_session_token={behind.token}"),
        ("x-anything", behind.token),
        ("connection", "proxy-authorization, x-anything"),
    ]
    with Connect(behind.port, "origin.test:443", headers) as connection:
        connection.start_tls(trusting(behind.origin_ca), "127.0.0.1")
        assert connection.ask(raw.request()).body == b"origin"
    (head,) = behind.upstream.heads
    assert head.split(b"\r\n") == [
        b"CONNECT origin.test:443 HTTP/1.1",
        b"host: origin.test:443",
    ]


def test_provider_through_the_company_proxy(behind: Tunnelled) -> None:
    """A provider is reached through the company's proxy, which sees only its host."""
    assert behind.upstream is not None
    behind.upstream.heads.clear()
    behind.provider.take()
    with httpx.Client(proxy=behind.url, verify=trusting(behind.ca_file)) as client:
        answer = client.get("https://api.anthropic.com/v1/models")
    assert answer.status_code == 200
    (visit,) = behind.provider.take()
    assert visit.all("x-api-key") == [CENTRAL_KEYS["anthropic"]]
    address = f"127.0.0.1:{behind.provider.server.port}"
    assert behind.upstream.heads == [f"CONNECT {address} HTTP/1.1\r\nhost: {address}".encode()]


def test_base_url_through_the_company_proxy(behind: Tunnelled) -> None:
    """Clients with a base URL reach the provider through the company's proxy too."""
    assert behind.upstream is not None
    answer = httpx.get(
        f"{behind.pair.url}/openai/v1/models", headers={"authorization": f"Bearer {behind.token}"}
    )
    assert answer.status_code == 200
    assert set(behind.upstream.targets) <= {
        f"127.0.0.1:{behind.provider.server.port}",
        "origin.test:443",
    }


@pytest.mark.parametrize("host", ["refused.test", "also.refused.test"])
def test_company_proxy_refuses(behind: Tunnelled, host: str) -> None:
    """A host that the company's proxy refuses is a 502."""
    assert connect(behind.port, f"{host}:443", credentials(behind.token)).status == 502


@pytest.mark.parametrize(
    "authority",
    ["localhost:443", "a.LOCALHOST:80", "127.0.0.1:443", "10.0.0.1:443", "8.8.8.8:443", "1:80"],
)
def test_company_proxy_gets_names_only(behind: Tunnelled, authority: str) -> None:
    """No IP address and no name of this machine is passed on to the company's proxy."""
    assert behind.upstream is not None
    behind.upstream.heads.clear()
    assert connect(behind.port, authority, credentials(behind.token)).status == 403
    assert behind.upstream.heads == []


def test_one_log_line_per_tunnel(tunnelled: Tunnelled) -> None:
    """A tunnel is one line of the access log, with its target, its user and its bytes."""
    assert tunnelled.origin is not None
    tunnelled.names.set("logged.test", [ALLOWED_ADDRESS])
    authority = f"logged.test:{tunnelled.origin.port}"
    _through(tunnelled, authority)
    wait_until(lambda: authority in tunnelled.pair.stdout, 5, "the access log line")
    time.sleep(0.1)
    (line,) = [line for line in tunnelled.log() if line["path"] == authority]
    assert line["method"] == "CONNECT"
    assert line["status"] == 200
    assert line["user"] == "alice"
    assert line["proxy_session"] == line["request_id"]
    assert line["bytes_sent"] > 500
    assert line["token_id"] == tunnelled.token.partition("-")[0]
