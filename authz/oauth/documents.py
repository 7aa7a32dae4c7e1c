"""Fetch the JSON documents that an issuer publishes: its metadata and its keys."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from authz import __version__
from authz.errors import AuthzError, ConfigError

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

    async def get(self, url: str) -> dict[str, Any]:
        """Return the JSON object at a URL.

        Redirects are not followed: the URL comes from the configuration or from the issuer's own
        metadata, and no other origin may speak for the issuer.

        Raises:
            IssuerUnavailable: there was no answer within ``SECONDS``, or it was not a JSON object
                of at most ``MAX_BYTES``.
        """
        try:
            async with asyncio.timeout(SECONDS):
                body = await self._read(url)
        except TimeoutError:
            raise IssuerUnavailable(f"{url} did not answer within {SECONDS:g} s") from None
        # ValueError: a host name that can't be one.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise IssuerUnavailable(f"{url} can't be read: {type(error).__name__}") from None
        try:
            document = json.loads(body, cls=StrictDecoder)
        except (ValueError, RecursionError):
            raise IssuerUnavailable(f"{url} is not valid JSON") from None
        if not isinstance(document, dict):
            raise IssuerUnavailable(f"{url} is not a JSON object")
        return document

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _read(self, url: str) -> bytes:
        if self._session is None:
            # Created at the first call, because it belongs to the event loop that runs then.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=4, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                trust_env=True,
                auto_decompress=False,
            )
        request = self._session.get(URL(url, encoded=True), allow_redirects=False)
        async with request as response:
            if response.status != 200:
                raise IssuerUnavailable(f"{url} answered {response.status}")
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_BYTES:
                    raise IssuerUnavailable(f"{url} is longer than {MAX_BYTES // 1024} KiB")
            return bytes(body)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
