"""Reloads ``gateway.yaml`` in the running service: reads all of it, checks it, then swaps it."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from http import HTTPStatus

import structlog

from authz.assigned.current import AssignedRules
from authz.check.authorizer import Authorizer, Record
from authz.check.entry_ids import EntryIds
from authz.check.ext_authz import Check
from authz.check.readers import CheckReader
from authz.check.recheck import Recheck
from authz.check.refused_keys import RefusedKeys
from authz.config.changes import describe, fingerprint, need_restart
from authz.config.external_gateways import open_mark, open_secrets
from authz.config.loading import open_pools
from authz.config.settings import Config
from authz.core.admission import Gate
from authz.core.identity import IdentitySource
from authz.errors import AuthzError, ConfigError
from authz.keys.pool import KeyPool, OnExhausted
from authz.keys.refusal import OnRefused
from authz.metrics import Metrics
from authz.own_keys.keyring import Keyring
from authz.prices.current import open_book
from authz.sds.leaves import keep_leaves, make_leaves
from authz.serve.key_commands import KeyCommands
from authz.serve.systemd import Notifier
from authz.usage.names import (
    REQUEST,
    REQUEST_BEFORE_GROUPS,
    REQUEST_LINES,
    marked_request,
)

_log = structlog.get_logger(__name__)

OVERLAP_SECONDS = 300.0
"""Time in which authz still answers for routes of the previous configuration.

Envoys get a new configuration later than authz, one after the other. A provider with its base URL
that both configurations have follows the new one from the first request on.
"""


_Prepared = tuple[
    Config, dict[str, KeyPool], CheckReader | None, Container[str | None], Keyring | None
]


class Reloadable:
    """The current configuration, and the tasks that depend on it.

    Args:
        config: the first configuration.
        load: reads the next one, in a thread.
        source: stays the same in every reload.
        metrics: show the result of each reload.
        ids: numbers the requests; it stays the same in every reload, too.
        notifier: is told of each reload.
        record: records the requests of external gateways, and does not change either.
        gates: are asked about each request that is allowed so far, in this order; they stay the
            same, too.
        on_exhausted: told that all central keys of a provider rest; see ``KeyPool``.
        on_refused: told of refusals that other processes should know; see ``KeyPool``.
        assigned: the rules for models that administrators set; None where there are none.
        swapped: called with each configuration after the first one, when it takes effect.

    Attributes:
        pools: the central keys now, by provider.
        keyring: the master keys of stored keys now, if users may store any.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        source: IdentitySource,
        metrics: Metrics,
        ids: EntryIds | None = None,
        notifier: Notifier | None = None,
        record: Record | None = None,
        gates: Sequence[Gate] = (),
        assigned: AssignedRules | None = None,
        on_exhausted: OnExhausted | None = None,
        on_refused: OnRefused | None = None,
        swapped: Callable[[Config], None] = lambda _: None,
    ) -> None:
        self._gates = gates
        self._assigned = assigned
        self._on_exhausted = on_exhausted
        self._on_refused = on_refused
        self._config = config
        self._swapped = swapped
        self._notifier = notifier or Notifier()
        self._load = load
        self._source = source
        self._metrics = metrics
        self._ids = ids or EntryIds()
        self._record = record
        self._record_kinds = _record_kinds(config)
        self.pools = open_pools(config)
        self.keyring = _open_keyring(config)
        self._authorizer, self._refused_keys = self._create(config, _external_reader(config))
        self._commands = KeyCommands(metrics.key_command_failed)
        self._lock = asyncio.Lock()
        self._leaves: asyncio.Task[None] | None = None
        self._reloads: set[asyncio.Task[None]] = set()
        metrics.loaded(fingerprint(config))

    @property
    def config(self) -> Config:
        """The current configuration."""
        return self._config

    def record_kinds(self) -> Container[str | None]:
        """Return the kinds of access log records that only the project's own Envoy can send."""
        return self._record_kinds

    def answer(self, message: bytes) -> bytes | Awaitable[bytes]:
        """Answer one check with the current configuration, at once if it need not wait."""
        return self._authorizer.answer(message)

    def check(self, message: bytes) -> Awaitable[bytes]:
        """Answer one check with the current configuration."""
        return self._authorizer.check(message)

    def recheck(self, check: Check) -> Awaitable[Recheck]:
        """Decide again on a request in progress with the current configuration."""
        return self._authorizer.recheck(check)

    @property
    def state(self) -> object:
        """An object that is equal as long as the configuration is the same."""
        return self._authorizer, self._authorizer.previous

    def receive(self, message: bytes) -> None:
        """Take a message of Envoy's access log about refused keys."""
        self._refused_keys.receive(message)

    def key_refused(self, provider: str, status: int) -> None:
        """Count a central key that a provider refused, and get a new one if a command has it.

        Args:
            provider: its name in the configuration.
            status: one of ``KEY_REFUSALS``.
        """
        self._metrics.key_refused(provider, status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.renew_key(provider)

    def renew_key(self, provider: str) -> None:
        """Run the commands of a provider soon, because it does not know their key any more."""
        self._commands.refused(provider)

    def start(self) -> None:
        """Start the tasks beside the checks."""
        self._leaves = asyncio.create_task(keep_leaves(self._config))
        self._commands.use(self.pools)

    def stop(self) -> None:
        """Stop these tasks and every reload in progress."""
        for task in (self._leaves, *self._reloads):
            if task is not None:
                task.cancel()
        self._commands.stop()

    def join(self) -> None:
        """Wait for the end of commands after ``stop``, when no check is answered any more."""
        self._commands.join()

    def reload_soon(self) -> None:
        """Reload in a task of its own; for a signal handler."""
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def reload(self) -> None:
        """Read the configuration again and serve it, or log why the current one stays."""
        # One at a time, so that a second reload reads after the first has swapped.
        async with self._lock:
            with self._notifier.reloading():
                await self._reload()

    async def _reload(self) -> None:
        try:
            prepared = await asyncio.to_thread(self._prepare)
        except (AuthzError, OSError) as error:
            self._metrics.not_reloaded()
            problems = error.problems if isinstance(error, ConfigError) else [str(error)]
            _log.error("configuration kept: the new one can't be used", why=problems)
            return
        except Exception as error:
            self._metrics.not_reloaded()
            # We log the type alone, since a message could quote a secret.
            _log.error("configuration kept", error=type(error).__name__)
            return
        self._swap(*prepared)

    def _prepare(self) -> _Prepared:
        config = self._load()
        # A change in Envoy's own settings needs no restart of authz.
        if paths := need_restart(self._config, config, ignored={"envoy"}):
            raise ConfigError([f"{path}: needs a restart" for path in paths])
        pools, reader = open_pools(config), _external_reader(config)
        keyring = _open_keyring(config)
        # Fails if it can't be opened; CurrentPrices opens it again after the reload.
        open_book(config)
        make_leaves(config)
        return config, pools, reader, _record_kinds(config), keyring

    def _swap(
        self,
        config: Config,
        pools: dict[str, KeyPool],
        reader: CheckReader | None,
        kinds: Container[str | None],
        keyring: Keyring | None,
    ) -> None:
        old, previous = self._config, self._authorizer
        before = self.pools
        self._config, self.pools = config, pools | _unchanged(old, config, before)
        self._retire(before)
        self._record_kinds, self.keyring = kinds, keyring
        self._swapped(config)
        self._authorizer, self._refused_keys = self._create(config, reader)
        self._authorizer.previous = previous
        older: Authorizer | None = previous
        while older is not None:
            # This setting does not depend on Envoy's configuration, so it changes for all at once.
            older.allow_byok = config.allow_byok
            older = older.previous
        asyncio.get_running_loop().call_later(OVERLAP_SECONDS, _forget, self._authorizer)
        self._metrics.loaded(fingerprint(config))
        if self._leaves is not None:
            self._leaves.cancel()
            self.start()
        _log.info("configuration reloaded", changes=describe(old, config))

    def _retire(self, pools: Mapping[str, KeyPool]) -> None:
        """Let the pools that are not in use any more tell and show nothing."""
        for name, pool in pools.items():
            if self.pools.get(name) is not pool:
                pool.on_cooldown = pool.on_exhausted = pool.on_refused = None
                for index in range(len(pool.keys)):
                    self._metrics.cooldown_began(name, index, 429, 0)

    def _create(self, config: Config, reader: CheckReader | None) -> tuple[Authorizer, RefusedKeys]:
        authorizer = Authorizer(
            config,
            self._source,
            self.pools,
            self._metrics,
            self._ids,
            reader,
            self._record,
            self.keyring,
            self._gates,
            self._assigned,
        )
        for name, pool in self.pools.items():
            pool.on_exhausted = self._on_exhausted
            pool.on_refused = self._on_refused
            pool.on_cooldown = self._metrics.cooldown_began
            self._metrics.expect_cooldowns(name, len(pool.keys))
        self._metrics.expect_keys(
            provider.name
            for provider in config.providers
            if provider.key_references or provider.signed
        )
        self._metrics.expect_key_commands(
            provider.name
            for provider in config.providers
            if any(reference.is_obtained for _, reference in provider.key_references)
        )
        # The usage records count refused keys, too, so only one of both may count them.
        counted = None if config.usage.enabled else self.key_refused
        return authorizer, RefusedKeys(self.pools, counted, self._metrics.key_retried)


def _external_reader(config: Config) -> CheckReader | None:
    if config.external_gateways is None:
        return None
    # Imported late: only a gateway with this setting needs it.
    from authz.external.reader import ExternalReader

    return ExternalReader(config, open_secrets(config.external_gateways))


def _record_kinds(config: Config) -> Container[str | None]:
    if config.external_gateways is None:
        return (REQUEST_LINES, REQUEST, REQUEST_BEFORE_GROUPS)
    mark = open_mark(config.external_gateways)
    if mark is None:
        return ()
    return tuple(marked_request(mark, kind) for kind in (REQUEST_LINES, REQUEST))


def _unchanged(old: Config, new: Config, pools: dict[str, KeyPool]) -> dict[str, KeyPool]:
    """Return the pools of providers with the same keys, since a key may be on cooldown."""
    same = {
        (provider.name, provider.base_url, provider.key_references) for provider in old.providers
    }
    return {
        provider.name: pools[provider.name]
        for provider in new.providers
        if provider.name in pools
        and (provider.name, provider.base_url, provider.key_references) in same
    }


def _open_keyring(config: Config) -> Keyring | None:
    if config.own_keys is None:
        return None
    keyring = Keyring(config.own_keys.keys)
    # The start goes on: only users with stored keys need the master keys.
    keyring.log_problems()
    return keyring


def _forget(authorizer: Authorizer) -> None:
    authorizer.previous = None
