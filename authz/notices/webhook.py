"""Send a notice to a webhook, signed as Standard Webhooks 1.0 says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable, Mapping

import aiohttp
from yarl import URL

from authz import __version__
from authz.config.webhook import Webhook as Settings
from authz.config.webhook import signing_key
from authz.errors import AuthzError, ConfigError

SECONDS = 10.0
"""The time for one notice."""


class NotDelivered(AuthzError):  # noqa: N818 - a state of the receiver
    """The receiver has not accepted a notice."""


class Webhook:
    """The receiver of notices.

    Args:
        settings: of the receiver.
        environ: the environment, which may hold the secret.
        clock: returns seconds since the epoch.

    Raises:
        ConfigError: the secret or ``ca_file`` can't be used.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = URL(str(settings.url), encoded=True)
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        try:
            self._secret = settings.open_secret(environ)
            self._tls = ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:
            raise ConfigError([f"webhook: can't read a file: {error.strerror}"]) from None
        except ValueError as error:
            raise ConfigError([f"webhook.secret: {error}"]) from None

    async def send(self, notice_id: str, body: bytes) -> None:
        """Send a notice once.

        Redirects are not followed, and the body of the answer is not read.

        Args:
            notice_id: the same in each attempt, so that the receiver can tell a repetition.
            body: JSON.

        Raises:
            NotDelivered: the receiver did not answer with a 2xx in time. The message names neither
                the URL nor the secret.
        """
        headers = self._headers(notice_id, body)
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._opened().post(
                    self._url, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                status = response.status
        except TimeoutError:
            raise NotDelivered(f"no answer within {SECONDS:g} s") from None
        # ValueError: a host name that can't be one.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(type(error).__name__) from None
        if not 200 <= status < 300:
            raise NotDelivered(f"status {status}")

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _headers(self, notice_id: str, body: bytes) -> dict[str, str]:
        secret = self._secret.current()
        if secret is None:
            raise NotDelivered("there is no secret to sign it with")
        try:
            key = signing_key(secret)
        except ValueError as error:
            # The file was replaced by one that can't be used.
            raise NotDelivered(f"the secret {error}") from None
        timestamp = str(int(self._clock()))
        return {
            "Content-Type": "application/json",
            "User-Agent": f"authz/{__version__}",
            "webhook-id": notice_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(key, notice_id, timestamp, body),
        }

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Created at the first call, because it belongs to the event loop that runs then.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=4, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
                auto_decompress=False,
            )
        return self._session


def sign(key: bytes, notice_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a notice: HMAC-SHA256 over its id, its time and its body."""
    signed = f"{notice_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
