"""authz.identity.coder_source: TLS, redirects, and servers that hang, cut or go away."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from authz.core.identity import Identity
from authz.errors import ConfigError, IdentityUnavailable
from authz.identity.coder_source import CoderSource
from tests.support.canned import (
    BUILD_INFO,
    USERS_ME,
    Canned,
    redirect,
)
from tests.support.certificates import Authority
from tests.support.coder import Coder
from tests.support.ports import free_port
from tests.unit.identity.asking import opened, read, unknown


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.usefixtures("patient")
async def test_redirects_are_not_followed(
    coder: Coder, coder_source: CoderSource, status: int
) -> None:
    """A redirect is an error, and the host that it names never sees the token."""
    with Coder().running() as other:
        coder.canned[USERS_ME] = redirect(other.url + USERS_ME, status)
        coder.canned[BUILD_INFO] = redirect(other.url + BUILD_INFO, status)
        with pytest.raises(IdentityUnavailable, match=f"answered {status}, a redirect"):
            await coder_source.verify(unknown())
        with pytest.raises(IdentityUnavailable, match=f"answered {status}"):
            await coder_source.check_ready()
        assert other.calls == {}
        assert other.tokens == []


async def test_a_server_that_hangs(coder: Coder, coder_source: CoderSource) -> None:
    """A server that does not answer is given up in time, and asked again at the next request."""
    token = read(coder.state.create_key("alice"))
    coder.hang = True
    began = time.monotonic()
    outcomes = await asyncio.gather(
        coder_source.verify(token), coder_source.check_ready(), return_exceptions=True
    )
    # It would hang for ever; the upper bound has room for a busy machine.
    assert 0.6 < time.monotonic() - began < 30
    for outcome in outcomes:
        assert isinstance(outcome, IdentityUnavailable)
        assert "no answer within 0.7 s" in str(outcome)
    coder.hang = False
    assert isinstance(await coder_source.verify(token), Identity)


@pytest.mark.usefixtures("patient")
async def test_connections_that_are_cut(coder: Coder, coder_source: CoderSource) -> None:
    """A connection reset is an error, and the next request opens a new connection."""
    token = read(coder.state.create_key("alice"))
    assert isinstance(await coder_source.verify(token), Identity)
    coder.reset = True
    with pytest.raises(IdentityUnavailable, match="can't ask Coder at http://127"):
        await coder_source.verify(token)
    coder.reset = False
    assert isinstance(await coder_source.verify(token), Identity)


@pytest.mark.usefixtures("patient")
async def test_a_server_that_restarts() -> None:
    """While Coder is away requests fail at once; when it is back on its port they pass again."""
    coder = Coder()
    # Not a port that the system chooses: while nobody listens, any connection could get it.
    with coder.running(port=free_port()):
        coder.state.create_user("alice")
        token = read(coder.state.create_key("alice"))
        async with opened(coder.url) as source:
            await source.verify(token)
    async with opened(coder.url) as source:
        with pytest.raises(IdentityUnavailable, match="can't ask Coder"):
            await source.verify(token)
        with coder.running(port=coder.port):
            assert isinstance(await source.verify(token), Identity)
            await source.check_ready()


async def test_a_name_that_is_not_known() -> None:
    """A host name without an address is named as the cause."""
    async with opened("http://coder.invalid") as source:
        with pytest.raises(
            IdentityUnavailable, match=r"its name can't be resolved|no answer within"
        ):
            await source.verify(unknown())


@pytest.mark.usefixtures("patient")
async def test_something_that_is_not_http() -> None:
    """A server of another protocol is an error."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(f"http://127.0.0.1:{port}") as source:
        with pytest.raises(IdentityUnavailable, match=r"not HTTP|closed|reset"):
            await source.verify(unknown())


@pytest.mark.usefixtures("patient")
async def test_a_base_with_a_path(coder: Coder) -> None:
    """A Coder behind a path is asked behind that path."""
    async with opened(f"{coder.url}/a%20b") as source:
        with pytest.raises(IdentityUnavailable, match="404"):
            await source.verify(unknown())
    assert coder.calls == {"/a b" + USERS_ME: 1}


@pytest.mark.usefixtures("patient")
async def test_private_ca(tmp_path: Path) -> None:
    """TLS is verified against the configured private CA and no other."""
    ours, foreign = Authority(tmp_path, "ours"), Authority(tmp_path, "foreign")
    coder = Coder()
    with coder.running(certificate=ours.issue()):
        coder.state.create_user("alice")
        token = read(coder.state.create_key("alice"))
        async with opened(coder.url, ours.ca_file) as source:
            assert isinstance(await source.verify(token), Identity)
        coder.headers.clear()
        for ca_file in (foreign.ca_file, None):
            async with opened(coder.url, ca_file) as source:
                with pytest.raises(IdentityUnavailable, match=r"certificate was refused: .*issuer"):
                    await source.verify(token)
                with pytest.raises(IdentityUnavailable, match="certificate was refused"):
                    await source.check_ready()
        async with opened(coder.url.replace("127.0.0.1", "localhost"), ours.ca_file) as source:
            with pytest.raises(IdentityUnavailable, match=r"certificate was refused: .*ostname"):
                await source.verify(token)
        assert coder.tokens == [], "nobody who is not trusted gets the token"


async def test_bad_ca_files(tmp_path: Path) -> None:
    """A CA file that can't be used is a configuration error that names the setting."""
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    for base, ca_file, text in (
        ("https://c", empty, "no PEM certificates"),
        ("https://c", tmp_path / "missing.pem", "No such file"),
        ("http://c", empty, "needs identity to begin with https"),
    ):
        with pytest.raises(ConfigError, match=f"identity_ca_file: .*{text}"):
            CoderSource(base, ca_file=ca_file)


@pytest.mark.usefixtures("patient")
async def test_no_cookies_proxies_or_netrc(
    coder: Coder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the environment nor an answer changes where a token is sent, or what with it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login u password hunter2\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(netrc))
    coder.canned[USERS_ME] = Canned(401, b"{}", {"set-cookie": "session=1; Path=/"})
    # By name: most clients keep no cookies of an address.
    async with opened(coder.url.replace("127.0.0.1", "localhost")) as source:
        await source.verify(unknown())
        await source.verify(unknown())
    for headers in coder.headers:
        assert "cookie" not in headers
        assert "authorization" not in headers
    assert len(coder.headers) == 2


@pytest.mark.usefixtures("patient")
async def test_connections_are_kept(coder: Coder, coder_source: CoderSource) -> None:
    """Requests one after another use one connection."""
    token = read(coder.state.create_key("alice"))
    for _ in range(10):
        await coder_source.verify(token)
    assert len(coder.clients) == 1


def test_the_server_speaks_raw_http(coder: Coder) -> None:
    """The fake server's 401 matches newer releases, so that tests see it as clients do."""
    with socket.create_connection(("127.0.0.1", coder.port)) as connection:
        connection.sendall(b"GET /api/v2/users/me HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 401 ")
    assert 'www-authenticate: Bearer realm="coder", error="invalid_token"' in answer
    assert f'resource_metadata="{coder.url}/.well-known/oauth-protected-resource"' in answer
    assert '"detail":"Cookie \\"coder_session_token\\" or query parameter must be' in answer
