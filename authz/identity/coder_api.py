"""Asks Coder's own API whose token it is, with the token itself (``coder-contract.md`` 5.1)."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
from yarl import URL

from authz import __version__
from authz.errors import ConfigError, IdentityUnavailable
from authz.identity import Identity, Rejection
from authz.identity.batch import LOOK_UP_SECONDS, Batcher
from authz.identity.coder_answer import Answer, is_build_info, is_narrow, read_user
from authz.tokens import CoderToken

CONNECTIONS = 32
"""How many calls one process has under way at once."""

CALL_SECONDS = LOOK_UP_SECONDS - 0.1
"""How long Coder has for an answer: whoever waits for it still gets it in time."""

MAX_BODY = 64 * 1024
"""A user object has about a kilobyte, and 36 bytes more for each organization."""

_TOKEN_HEADER = "Coder-Session-Token"  # noqa: S105 - the header's name
_HEADERS = {
    "Accept": "application/json",
    # A compressed body could be a thousand times longer than MAX_BODY.
    "Accept-Encoding": "identity",
    "User-Agent": f"authz/{__version__}",
}
_USER, _BUILD_INFO = "/api/v2/users/me", "/api/v2/buildinfo"


class CoderSource:
    """A source that passes each token on to Coder.

    Who asks for a token that a call is under way for shares the next call. Tokens that were good
    at their last call have connections of their own, so that a flood of bad ones, which gets the
    other half, does not hold them up.

    Args:
        base: of the deployment, without a slash at the end.
        ca_file: PEM certificates that are trusted instead of the system's.

    Raises:
        ConfigError: ``ca_file`` can't be used.
    """

    def __init__(self, base: str, *, ca_file: Path | None = None) -> None:
        self._base = base
        self._urls = {path: URL(base + path, encoded=True) for path in (_USER, _BUILD_INFO)}
        self._tls = _trust(base, ca_file)
        self._good = _Recent(100_000)
        half = CONNECTIONS // 2
        # Few may wait for an unknown token: behind a flood nobody's turn would come in time.
        self._known, self._unknown = (
            Batcher[CoderToken, Identity | Rejection](
                self._look_up,
                max_batch=1,
                concurrency=half,
                exclusive=True,
                max_waiting=max_waiting,
            )
            for max_waiting in (4096, 1024)
        )
        self._session: aiohttp.ClientSession | None = None
        self._is_coder = False
        self._identifying = asyncio.Lock()
        self._closed = False

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Ask Coder in a call that starts now or later, and say whose token it is.

        A token whose scope does not include its user is good, but Coder does not say whose it is:
        ``user_id``, ``username`` and ``email`` are empty then.

        Raises:
            IdentityUnavailable: Coder can't be asked, or its answer says nothing about the token.
        """
        lane = self._known if token.digest in self._good else self._unknown
        verdict = await lane.get(token)
        if isinstance(verdict, Identity):
            self._good.add(token.digest)
            return verdict
        self._good.discard(token.digest)
        return verdict or Rejection.UNKNOWN

    async def check_ready(self) -> None:
        """Return when Coder's server answers as such.

        Raises:
            IdentityUnavailable: it does not.
        """
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._get(_BUILD_INFO)
        except TimeoutError:
            raise IdentityUnavailable(_SLOW) from None
        if not is_build_info(answer):
            raise IdentityUnavailable(
                f"{self._base}{_BUILD_INFO} answered {answer.status}, and not as a Coder server"
            )
        self._is_coder = True

    async def close(self) -> None:
        """Fail who waits and close the connections."""
        self._closed = True
        await self._known.close()
        await self._unknown.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _look_up(
        self, tokens: Sequence[CoderToken]
    ) -> Mapping[CoderToken, Identity | Rejection]:
        (token,) = tokens
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return {token: await self._ask(token)}
        except TimeoutError:
            raise IdentityUnavailable(_SLOW) from None

    async def _ask(self, token: CoderToken) -> Identity | Rejection:
        answer = await self._get(_USER, token)
        if not is_narrow(answer):
            return read_user(answer, token.id)
        if not await self._has_identified():
            raise IdentityUnavailable("Coder's API answered 404, but its buildinfo is not Coder's")
        return Identity(
            user_id="", username="", email="", token_id=token.id, token_name="", expires_at=None
        )

    async def _has_identified(self) -> bool:
        """Say whether the server at ``base`` has shown that it is Coder's; it has to only once."""
        async with self._identifying:
            if not self._is_coder:
                self._is_coder = is_build_info(await self._get(_BUILD_INFO))
            return self._is_coder

    async def _get(self, path: str, token: CoderToken | None = None) -> Answer:
        """Make one call.

        Raises:
            IdentityUnavailable: there was no answer.
        """
        headers = {}
        if token is not None:
            if token.text is None:
                raise ValueError("this token was not presented: it has no text")
            headers[_TOKEN_HEADER] = token.text.reveal()
        try:
            # A redirect would take the token to another host.
            request = self._opened().get(self._urls[path], headers=headers, allow_redirects=False)
            async with request as response:
                content_type = response.headers.get("Content-Type", "")
                return Answer(response.status, content_type, await _read(response))
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            cause = _cause(error)
        # Raised out here: aiohttp's errors hold the request, which holds the token.
        raise IdentityUnavailable(f"can't ask Coder at {self._base}: {cause}")

    def _opened(self) -> aiohttp.ClientSession:
        # Not before the first call: it belongs to the event loop that is running then.
        if self._closed:
            raise IdentityUnavailable("the identity source is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # One more than the look-ups, for the readiness check.
                connector=aiohttp.TCPConnector(limit=CONNECTIONS + 1, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


class _Recent:
    """The digests of the tokens that were good most recently, at most ``limit``.

    Digests, not ids: an id is no secret, and would let a flood into the lane of good tokens.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > self._limit:
            self._digests.popitem(last=False)

    def discard(self, digest: bytes) -> None:
        self._digests.pop(digest, None)


_SLOW = f"Coder's API gave no answer within {CALL_SECONDS:.1f} s"


def _trust(base: str, ca_file: Path | None) -> ssl.SSLContext | bool:
    if not base.startswith("https://"):
        if ca_file is not None:
            raise ConfigError(["identity_ca_file: needs an https:// URL as identity"])
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        why = "no PEM certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([f"identity_ca_file: can't use {ca_file}: {why}"]) from None


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body; None if it is too long, cut, or compressed."""
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


def _cause(error: Exception) -> str:
    """Say in words of our own what went wrong: aiohttp's could quote what was sent."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "it is not trusted"
            return f"its certificate was refused: {why} (identity_ca_file names a private CA)"
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ClientConnectorError() | aiohttp.ClientOSError():
            return error.strerror or "the connection failed"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection"
        case _:
            return f"its answer is not HTTP ({type(error).__name__})"
