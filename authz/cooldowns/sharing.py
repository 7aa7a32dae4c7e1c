"""Tells other authz processes of refused keys, and learns of those that they were told of.

It is beside the data path: no check waits for it. Without the database each process goes on with
what it knows.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from authz.cooldowns import message
from authz.database.postgres_channel import POOL_BY_SESSION, PostgresChannel
from authz.database.url import PostgresURL
from authz.errors import AuthzError, StoreError
from authz.keys.pool import MAX_COOLDOWN_SECONDS, KeyPool
from authz.keys.refusal import Refusal

_log = structlog.get_logger(__name__)

CHANNEL = "authz_refused_keys"
BEAT_SECONDS = 5.0
"""The time between two looks at a connection on which nothing happens."""
AGAIN_SECONDS = 2.0
"""The time after which a lost connection is opened again."""
GAP_SECONDS = 0.05
"""The least time between two statements: what comes meanwhile goes together."""
SAME_SECONDS = 1.0
"""A cooldown that grows by less is not told again."""
_HELLO = "hello"


@dataclass(frozen=True, slots=True)
class SharedPool:
    """A pool of keys, and what belongs to it.

    Attributes:
        base_url: of the provider, because a key counts for one place only.
    """

    pool: KeyPool
    base_url: str


class CooldownSharing:
    """The part of one process.

    Args:
        url: of the database.
        pools: returns the pools now, by provider.
        connected: called with whether the other processes can be told.
        unauthorized: called with a provider whose key another process saw refused with 401.
    """

    def __init__(
        self,
        url: PostgresURL,
        pools: Callable[[], Mapping[str, SharedPool]],
        connected: Callable[[bool], None] = lambda _: None,
        unauthorized: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._pools = pools
        self._connected = connected
        self._unauthorized = unauthorized
        self._id = secrets.token_hex(8)
        self._wake = asyncio.Event()
        self._channel: PostgresChannel | None = None
        self._pending: dict[tuple[str, int], Refusal] = {}
        self._told: dict[tuple[str, int], tuple[Refusal, float]] = {}
        self._greets = False
        self._is_heard = False
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    def refused(self, provider: str, refusal: Refusal) -> None:
        """Tell the other processes of a refusal, soon."""
        if self._channel is None:
            # After the connection is open, all cooldowns are told.
            return
        place, until = (provider, refusal.index), time.monotonic() + refusal.seconds
        before, told_until = self._told.get(place, (None, 0.0))
        if before is not None and until < told_until + SAME_SECONDS and _same(before, refusal):
            return
        self._told[place] = refusal, until
        self._pending[place] = refusal
        self._wake.set()

    def pools_changed(self) -> None:
        """Ask the other processes what they know of the pools now."""
        self._greets = True
        self._told.clear()
        self._wake.set()

    def start(self) -> None:
        """Start sharing."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop sharing, and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            if not self._pools():
                self._connected(True)
                await self._wake.wait()
                self._wake.clear()
                continue
            try:
                await self._share()
            except Exception as error:
                self._failed(error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _share(self) -> None:
        """Share over one connection, for as long as there are pools."""
        channel = PostgresChannel(self._url, CHANNEL, self._receive, self._wake.set)
        try:
            await channel.open()
            self._channel, self._is_heard = channel, False
            self._greets = True
            self._tell_all()
            while self._pools():
                await channel.send(self._messages(channel.now()))
                # What comes within the gap goes with the next statement.
                await asyncio.sleep(GAP_SECONDS)
                await self._pause()
        finally:
            self._channel = None
            await channel.close()

    async def _pause(self) -> None:
        """Wait for something to tell, or for the time of the next look."""
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            if not self._is_heard:
                raise StoreError(
                    f"{self._url.display}: a notification did not arrive: {POOL_BY_SESSION}"
                ) from None
        self._wake.clear()

    def _messages(self, now: float) -> list[str]:
        """Return what is to be told, as messages."""
        pending, self._pending = self._pending, {}
        pools = self._pools()
        # Those that may be about the last key come after those of the others.
        refusals = sorted(pending.items(), key=lambda item: item[1].is_confirmed)
        found = [
            message.write(provider, pools[provider].base_url, refusal, now)
            for (provider, _), refusal in refusals
            if provider in pools
        ]
        if self._greets:
            self._greets = False
            found.insert(0, json.dumps({_HELLO: self._id}))
        return found

    def _receive(self, text: str) -> None:
        """Take a message; log every error and raise none."""
        try:
            self._take(text)
        except Exception as error:
            # We log the type alone, since a message could quote what it was about.
            _log.error("message about a refused key dropped", error=type(error).__name__)

    def _take(self, text: str) -> None:
        greeting = _greeting(text)
        if greeting == self._id:
            self._heard()
        elif greeting is not None:
            self._tell_all()
            self._wake.set()
        elif (found := message.read(text)) is not None:
            self._learn(found)

    def _heard(self) -> None:
        if not self._is_heard:
            self._is_heard = True
            if self._is_failing:
                _log.info("refused keys are shared again")
            self._is_failing = False
            self._connected(True)

    def _learn(self, found: message.KeyMessage) -> None:
        shared = self._pools().get(found.provider)
        if shared is None or self._channel is None or found.index >= len(shared.pool.keys):
            return
        key = shared.pool.keys[found.index].current()
        if key is None:
            return
        refusal = message.refusal_of(found, shared.base_url, key, self._channel.now())
        if refusal is None or refusal.seconds > MAX_COOLDOWN_SECONDS + BEAT_SECONDS:
            return
        if shared.pool.learn(refusal) and refusal.status == HTTPStatus.UNAUTHORIZED:
            self._unauthorized(found.provider)

    def _tell_all(self) -> None:
        """Tell of every cooldown again."""
        for provider, shared in self._pools().items():
            for refusal in shared.pool.cooldowns():
                self._pending[provider, refusal.index] = refusal

    def _failed(self, error: Exception) -> None:
        self._connected(False)
        if not self._is_failing:
            self._is_failing = True
            why = str(error) if isinstance(error, AuthzError) else type(error).__name__
            _log.error("refused keys are not shared with other authz processes", why=why)


def _greeting(text: str) -> str | None:
    """Return the sender of a hello; None for another message."""
    if len(text) > message.MAX_LENGTH or not text.startswith(f'{{"{_HELLO}"'):
        return None
    try:
        value = json.loads(text).get(_HELLO)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _same(one: Refusal, other: Refusal) -> bool:
    return (one.key, one.requester.user_id, one.is_confirmed) == (
        other.key,
        other.requester.user_id,
        other.is_confirmed,
    )
