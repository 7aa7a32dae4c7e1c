"""``authz login --device``: sign in with a code that a browser on any machine approves."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import click
from yarl import URL

from authz import __version__
from authz.addresses import TcpAddress
from authz.core.tokens import parse
from authz.errors import ConfigError, StoreError
from authz.printable import printable

_CLIENT = "authz"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_METADATA = "/.well-known/oauth-authorization-server"
_SECONDS = 15
_MAX_BYTES = 64 * 1024
_SLOWER = 5


async def sign_in(url: str, ca_file: Path | None = None) -> str:
    """Print a code and the page to enter it, wait for the approval, and return the session token.

    Args:
        url: of the gateway.
        ca_file: PEM file with a private CA of the gateway.

    Raises:
        ConfigError: the URL can't be used.
        StoreError: the gateway can't be reached, or the sign-in was denied or took too long.
    """
    base = _checked(url)
    try:
        tls = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError([f"--ca-file: can't use {ca_file}: {error.strerror}"]) from None
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls),
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": f"authz/{__version__}"},
        trust_env=True,
    ) as session:
        _, metadata = await _call(session, "GET", f"{base}{_METADATA}")
        begin = _endpoint(metadata, "device_authorization_endpoint", base)
        exchange = _endpoint(metadata, "token_endpoint", base)
        status, begun = await _call(session, "POST", begin, client_id=_CLIENT)
        if status != 200:
            raise StoreError(f"{base} refused: {_text(begun, 'error_description')}")
        click.echo(
            f"Open {_text(begun, 'verification_uri')} in a browser and enter this code:\n\n"
            f"    {_text(begun, 'user_code')}\n",
            err=True,
        )
        return await _wait(session, exchange, begun)


async def _wait(session: aiohttp.ClientSession, url: str, begun: dict[str, Any]) -> str:
    interval = max(float(begun.get("interval", 5)), 1)
    form = {
        "grant_type": _DEVICE_CODE,
        "device_code": _text(begun, "device_code"),
        "client_id": _CLIENT,
    }
    while True:
        await asyncio.sleep(interval)
        status, body = await _call(session, "POST", url, **form)
        if status == 200:
            token = _text(body, "access_token")
            if parse(token) is None:
                raise StoreError("the gateway sent no session token")
            return token
        error = body.get("error")
        if error == "slow_down":
            interval += _SLOWER
        elif error != "authorization_pending":
            raise StoreError(f"not logged in: {_text(body, 'error_description')}")


async def _call(
    session: aiohttp.ClientSession, method: str, url: str, **form: str
) -> tuple[int, dict[str, Any]]:
    try:
        async with session.request(
            method, URL(url, encoded=True), data=form or None, allow_redirects=False
        ) as response:
            text = await response.content.read(_MAX_BYTES)
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StoreError(f"can't reach {url}: {type(error).__name__}") from None
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise StoreError(f"{url} is not a gateway with 'authz login --device'")
    if method == "GET" and status != 200:
        raise StoreError(f"{url} answered {status}: the gateway has no 'authz login --device'")
    return status, body


def _checked(url: str) -> str:
    base = url.rstrip("/")
    try:
        parts = URL(base)
        is_local = TcpAddress(parts.host or "", parts.port or 80).is_loopback
    except ValueError:
        raise ConfigError(["--url: must be the URL of a gateway"]) from None
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ConfigError(["--url: must begin with https://, or http:// on this machine"])
    return base


def _endpoint(metadata: dict[str, Any], name: str, base: str) -> str:
    """Return an endpoint of the metadata, which has to be on the gateway's own origin."""
    url = _text(metadata, name)
    if URL(url).origin() != URL(base).origin():
        raise StoreError(f"the gateway names a {name} on another host")
    return url


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise StoreError(f"the gateway sent no {name}")
    # It goes to a terminal.
    return printable(value)
