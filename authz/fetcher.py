"""Fetch JSON documents over HTTP: an issuer's metadata and keys, and answers of token endpoints."""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from authz import __version__
from authz.errors import AuthzError, ConfigError
from authz.secret import Secret

MAX_BYTES = 256 * 1024
"""The maximum size of a document. The largest issuers publish some 20 KiB of keys."""
SECONDS = 4.0
"""The time for one document. Envoy waits 10 s for authz, which may need two documents."""

_HEADERS = {
    "Accept": "application/json",
    # A compressed body could be a thousand times longer than MAX_BYTES.
    "Accept-Encoding": "identity",
    "User-Agent": f"authz/{__version__}",
}


class IssuerUnavailable(AuthzError):  # noqa: N818 - a state of the issuer
    """The issuer does not answer, or not with a document that can be used."""


class StrictDecoder(json.JSONDecoder):
    """Reads JSON in which a name appears once and a number is finite.

    Two parsers that read a repeated name differently would see different claims.
    """

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=_unique, parse_constant=_no_constant)


class Fetcher:
    """Fetches documents over HTTPS, with one pool of connections.

    Args:
        ca_file: PEM file with a private CA of the issuer. None means the system's trusted roots.

    Raises:
        ConfigError: ``ca_file`` can't be used.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigError([f"ca_file: can't use {ca_file}: {error.strerror}"]) from None
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object at a URL.

        Redirects are not followed: the URL comes from the configuration or from the issuer's own
        metadata, and no other origin may speak for the issuer.

        Raises:
            IssuerUnavailable: there was no answer within ``SECONDS``, or it was not a JSON object
                of at most ``MAX_BYTES``.
        """
        return _object(url, await self._answer(url, "GET", None, headers))

    async def get_with_token(self, url: str, token: Secret) -> dict[str, Any]:
        """Return the JSON object at a URL that asks for an access token; errors as ``get``."""
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        return _object(url, await self._answer(url, "GET", None, headers))

    async def post(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a form and return the JSON object of the answer; errors as ``get``.

        An answer with status 400 is returned too: at a token endpoint it has an ``error`` (RFC 6749
        section 5.2).
        """
        return _object(url, await self._answer(url, "POST", form, headers, (200, 400, 401)))

    async def post_json(
        self, url: str, values: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a JSON object and return that of the answer; answers and errors as ``post``."""
        sent = {**(headers or {}), "Content-Type": "application/json"}
        body = json.dumps(values).encode()
        return _object(url, await self._answer(url, "POST", body, sent, (200, 400, 401)))

    async def _answer(
        self,
        url: str,
        method: str,
        body: Mapping[str, str] | bytes | None,
        headers: Mapping[str, str] | None,
        statuses: Sequence[int] = (200,),
    ) -> bytes:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._read(url, method, body, headers, statuses)
        except TimeoutError:
            raise IssuerUnavailable(f"{url} did not answer within {SECONDS:g} s") from None
        # ValueError: a host name that can't be one.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise IssuerUnavailable(f"{url} can't be read: {cause_of(error)}") from None

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _read(
        self,
        url: str,
        method: str,
        body: Mapping[str, str] | bytes | None,
        headers: Mapping[str, str] | None,
        statuses: Sequence[int],
    ) -> bytes:
        if self._session is None:
            # Created at the first call, because it belongs to the event loop that runs then.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=4, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                trust_env=True,
                auto_decompress=False,
            )
        request = self._session.request(
            method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
        )
        async with request as response:
            if response.status not in statuses:
                raise IssuerUnavailable(f"{url} answered {response.status}")
            answer = bytearray()
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > MAX_BYTES:
                    raise IssuerUnavailable(f"{url} is longer than {MAX_BYTES // 1024} KiB")
            return bytes(answer)


def cause_of(error: Exception, ca_setting: str = "ca_file") -> str:
    """Return a text for an error without aiohttp's message, which could quote the request.

    Args:
        error: of a request.
        ca_setting: the setting that names a private CA.
    """
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "it is not trusted"
            return f"its certificate was refused: {why} ({ca_setting} names a private CA)"
        case aiohttp.ClientConnectorDNSError():
            return "its name can't be resolved"
        case aiohttp.ClientConnectorError() | aiohttp.ClientOSError():
            return error.strerror or "the connection failed"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection"
        case _:
            return f"its answer is not HTTP ({type(error).__name__})"


def _object(url: str, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, cls=StrictDecoder)
    except (ValueError, RecursionError):
        raise IssuerUnavailable(f"{url} is not valid JSON") from None
    if not isinstance(document, dict):
        raise IssuerUnavailable(f"{url} is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
