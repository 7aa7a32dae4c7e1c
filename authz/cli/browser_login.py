"""Sign in at a gateway with the browser of this machine (RFC 8252, PKCE)."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import ssl
import webbrowser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import click

from authz.addresses import BaseUrl, TcpAddress, parse_base_url
from authz.core.tokens import parse
from authz.errors import StoreError
from authz.secret import Secret

SECONDS = 300
"""The time for the person to sign in."""
_MAX_HEAD = 8192
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>authz</title>"
    "<p>{text} You can close this page."
)
_HEAD = (
    "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\n"
    "content-security-policy: default-src 'none'\r\ncache-control: no-store\r\n"
    "referrer-policy: no-referrer\r\nconnection: close\r\n\r\n"
)


def gateway_url(text: str) -> BaseUrl:
    """Return the URL of a gateway.

    Raises:
        StoreError: it is malformed, has a path, or would send a token in clear to another machine.
    """
    try:
        url = parse_base_url(text)
    except ValueError as error:
        raise StoreError(f"--url: {error}") from None
    if url.path != "/":
        raise StoreError("--url: must not have a path")
    if not url.tls and not TcpAddress(url.host, url.port).is_loopback:
        raise StoreError("--url: the token would cross the network in clear: use https://")
    return url


async def browser_login(url: BaseUrl, ca_file: Path | None, *, opens: bool) -> Secret:
    """Return the token of a new session, which a person approves in their browser.

    Args:
        url: the gateway.
        ca_file: PEM file with a private CA of the gateway.
        opens: open the browser; else only print the URL.

    Raises:
        StoreError: the sign-in was not approved in time, or the gateway refused.
    """
    base = str(url).rstrip("/")
    verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(reader, writer, state, code)

    # Only this machine can connect, and only to a port that no other program had.
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_MAX_HEAD)
    async with server:
        port = server.sockets[0].getsockname()[1]
        page = f"{base}/ui/cli/{port}/{state}/{challenge}"
        click.echo(f"Sign in with your browser on this machine:\n  {page}", err=True)
        if opens:
            await asyncio.to_thread(webbrowser.open, page)
        try:
            async with asyncio.timeout(SECONDS):
                given = await code
        except TimeoutError:
            raise StoreError(f"no sign-in within {SECONDS // 60} minutes: try again") from None
    return await _exchange(base, given, verifier, ca_file)


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    state: str,
    code: asyncio.Future[str],
) -> None:
    """Answer the browser. A request without the right state changes nothing."""
    try:
        async with asyncio.timeout(10):
            line = await reader.readline()
            given = _code_of(line.decode("ascii", "replace"), state)
            while (await reader.readline()).strip():
                pass
            status, text = ("200 OK", "You are signed in.")
            if given is None:
                status, text = ("404 Not Found", "This is not the sign-in that authz waits for.")
            body = _PAGE.format(text=text).encode()
            writer.write(_HEAD.format(status=status, length=len(body)).encode() + body)
            await writer.drain()
        if given is not None and not code.done():
            code.set_result(given)
    except (TimeoutError, OSError, ValueError):
        pass
    finally:
        writer.close()


def _code_of(line: str, state: str) -> str | None:
    method, _, rest = line.partition(" ")
    query = parse_qs(urlsplit(rest.partition(" ")[0]).query)
    states, codes = query.get("state", []), query.get("code", [])
    if method != "GET" or len(states) != 1 or len(codes) != 1:
        return None
    return codes[0] if hmac.compare_digest(states[0].encode(), state.encode()) else None


async def _exchange(base: str, code: str, verifier: str, ca_file: Path | None) -> Secret:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise StoreError(f"--ca-file: can't use {ca_file}: {error.strerror}") from None
    timeout = aiohttp.ClientTimeout(total=15)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.post(
                f"{base}/ui/cli/token",
                data={"code": code, "code_verifier": verifier},
                ssl=context,
                allow_redirects=False,
            ) as response,
        ):
            body = await response.content.read(4096)
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StoreError(f"{base} can't be reached: {type(error).__name__}") from None
    try:
        answer = json.loads(body)
        text = answer.get("session_token") if status == 200 else None
    except (ValueError, AttributeError):
        text = None
    if not isinstance(text, str) or parse(text) is None:
        raise StoreError(f"{base} refused the sign-in (status {status}): run 'authz login' again")
    return Secret(text)
