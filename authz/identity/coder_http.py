"""An HTTP client for Coder's API, with its certificates and error texts."""

import ssl
from pathlib import Path

import aiohttp
from yarl import URL

from authz import __version__
from authz.core.tokens import CoderToken
from authz.errors import ConfigError, IdentityUnavailable, IdentityUnreachable
from authz.fetcher import cause_of
from authz.identity.coder_answer import Answer

MAX_BODY = 64 * 1024
"""The maximum size of an answer.

A user object has about a kilobyte, and 36 bytes more for each organization."""

_TOKEN_HEADER = "Coder-Session-Token"  # noqa: S105 - the header's name
_BUILD_HEADER = "X-Coder-Build-Version"
_HEADERS = {
    "Accept": "application/json",
    # A compressed body could be a thousand times longer than MAX_BODY.
    "Accept-Encoding": "identity",
    "User-Agent": f"authz/{__version__}",
}


class CoderHTTP:
    """A pool of connections to a Coder deployment.

    Args:
        base: the URL of the deployment, without a slash at the end.
        tls: the result of ``trusted``.
        connections: the maximum number of connections.
    """

    def __init__(self, base: str, tls: ssl.SSLContext | bool, *, connections: int) -> None:
        self._base = base
        self._tls = tls
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def end(self) -> None:
        """Refuse further calls."""
        self._closed = True

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, token: CoderToken | None = None) -> Answer:
        """Send a GET request.

        Raises:
            IdentityUnreachable: Coder did not answer.
        """
        headers = {}
        if token is not None:
            if token.text is None:
                raise ValueError("the token has no text, so it can't be sent")
            headers[_TOKEN_HEADER] = token.text.reveal()
        try:
            # A redirect would send the token to another host.
            request = self._opened().get(
                URL(self._base + path, encoded=True), headers=headers, allow_redirects=False
            )
            async with request as response:
                content_type = response.headers.get("Content-Type", "")
                return Answer(
                    response.status,
                    content_type,
                    await _read(response),
                    is_coders=_BUILD_HEADER in response.headers,
                    retry_after=_seconds(response.headers.get("Retry-After", "")),
                )
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            cause = cause_of(error, "identity_ca_file")
        # Raised outside the handler: aiohttp's errors contain the request with the token.
        raise IdentityUnreachable(f"can't ask Coder at {self._base}: {cause}")

    def _opened(self) -> aiohttp.ClientSession:
        # Created at the first call, because it belongs to the event loop that runs then.
        if self._closed:
            raise IdentityUnavailable("the identity source is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


def trusted(base: str, ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return the trusted certificates in the form that aiohttp takes.

    Raises:
        ConfigError: ``ca_file`` can't be used.
    """
    if not base.startswith("https://"):
        if ca_file is not None:
            raise ConfigError(["identity_ca_file: needs identity to begin with https://"])
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([f"identity_ca_file: can't use {ca_file}: {why}"]) from None


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, or None if it is too long, cut, or compressed."""
    body = bytearray()
    try:
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MAX_BODY:
                return None
    except aiohttp.ClientPayloadError:
        return None
    return (
        None if response.headers.get("Content-Encoding", "identity") != "identity" else bytes(body)
    )
