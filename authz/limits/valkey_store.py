"""Counts in Valkey or Redis: each batch is one script.

This module needs the extra ``valkey``. authz imports it only if ``limits.shared.store`` names such
a server.
"""

import json
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.credentials import CredentialProvider

from authz.config.shared_limits import ValkeyURL
from authz.errors import StoreError
from authz.limits.limit import PASSED, Outcome, Reached, Settled, Wanted
from authz.limits.scripts import ADMIT, SETTLE
from authz.secret import Secret

_PREFIX = "{authz}:"
"""In a cluster, the braces place all keys on one server, as a script needs it."""
ANSWER_SECONDS = 0.8
CONNECT_SECONDS = 0.7


class ValkeyStore:
    """Counts in a server.

    Args:
        url: of the server.
        life_ms: the time after which a request ends by itself.
        password: returns the password now, or None where it is missing; a file may have a new one.
            Without this function the server asks for none.
        ca_file: the trusted roots; None means the system's.
    """

    def __init__(
        self,
        url: ValkeyURL,
        life_ms: int,
        password: Callable[[], Secret | None] | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._where = url.display
        self._life_ms = life_ms
        options: dict[str, Any] = {"ssl": True} if url.tls else {}
        if url.tls:
            options |= {"ssl_ca_certs": str(ca_file) if ca_file else None}
            options |= {"ssl_min_version": ssl.TLSVersion.TLSv1_2}
        if password is not None:
            options["credential_provider"] = _Credentials(url.username, password)
        self._client = Redis(
            host=url.host,
            port=url.port,
            db=url.database,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            # A connection that the server has closed meanwhile. A batch that is sent twice may
            # count twice, which exceeds no limit.
            retry=Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
            # Nothing here needs the newer protocol.
            protocol=2,
            **options,
        )
        self._admit: AsyncScript = self._client.register_script(ADMIT)
        self._settle: AsyncScript = self._client.register_script(SETTLE)

    async def admit(self, batch: Sequence[Wanted]) -> Mapping[Wanted, Outcome]:
        """Decide on requests; see ``LimitStore.admit``."""
        keys: dict[str, int] = {}

        def place(key: str) -> int:
            return keys.setdefault(f"{_PREFIX}{key}", len(keys) + 1)

        requests = [
            [
                place(f"request:{wanted.request_id}"),
                [[place(one.key), one.kind, one.most] for one in wanted.limits],
            ]
            for wanted in batch
        ]
        answers = await self._run(self._admit, list(keys), [self._life_ms, json.dumps(requests)])
        found = cast("list[int]", answers)
        return {
            wanted: _outcome(wanted, found[2 * index], found[2 * index + 1])
            for index, wanted in enumerate(batch)
        }

    async def settle(self, batch: Settled) -> None:
        """End requests; see ``LimitStore.settle``."""
        keys = [f"{_PREFIX}request:{request_id}" for request_id in batch]
        await self._run(self._settle, keys, list(batch.values()))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _run(self, script: AsyncScript, keys: list[str], arguments: list[Any]) -> object:
        try:
            return await cast("Awaitable[object]", script(keys=keys, args=arguments))
        except (exceptions.RedisError, OSError, ValueError) as error:
            raise StoreError(f"{self._where}: {_explained(error)}") from None


class _Credentials(CredentialProvider):
    """Gives each new connection the user and the password of now."""

    def __init__(self, username: str, password: Callable[[], Secret | None]) -> None:
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._password()
        text = password.reveal() if password is not None else ""
        return (self._username, text) if self._username else (text,)


def _outcome(wanted: Wanted, place: int, wait_ms: int) -> Outcome:
    return Reached(wanted.limits[place - 1], wait_ms) if place else PASSED


def _explained(error: Exception) -> str:
    """Return the problem in a line that quotes no command and no credential."""
    if isinstance(error, exceptions.AuthenticationError):
        return "the user or the password is wrong"
    if isinstance(error, exceptions.NoPermissionError):
        return "the user may not run scripts on the keys {authz}:*"
    if isinstance(error, exceptions.ReadOnlyError):
        return "it is a replica: name the primary"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.ConnectionError | OSError):
        return "no connection"
    return f"it refuses the script: {type(error).__name__}"
