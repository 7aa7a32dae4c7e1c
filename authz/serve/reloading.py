"""A new ``gateway.yaml`` in the running service: read whole, checked, then swapped at once."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from authz.check.authorizer import Authorizer
from authz.check.entry_ids import EntryIds
from authz.check.refused_keys import RefusedKeys
from authz.config.changes import describe, fingerprint, need_restart
from authz.config.loading import open_pools
from authz.config.settings import Config
from authz.core.identity import IdentitySource
from authz.errors import AuthzError, ConfigError
from authz.keys.pool import KeyPool
from authz.metrics import Metrics
from authz.sds.leaves import keep_leaves, make_leaves

_log = structlog.get_logger(__name__)

OVERLAP_SECONDS = 300.0
"""How long routes of the configuration before are still answered, as that configuration says.

Envoys get theirs later than authz does, one after the other. What both configurations know, a
provider under its base URL, is answered as the new one says from the first request on.
"""


class Reloadable:
    """The configuration that is served, and the tasks that depend on it.

    Args:
        config: the first one.
        load: reads the next one, in a thread of its own.
        source: outlives every reload.
        metrics: where the outcome of each is shown.
        ids: numbers the requests; it outlives every reload, too.

    Attributes:
        pools: the central keys that serve now, by provider.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        source: IdentitySource,
        metrics: Metrics,
        ids: EntryIds | None = None,
    ) -> None:
        self._config = config
        self._load = load
        self._source = source
        self._metrics = metrics
        self._ids = ids or EntryIds()
        self.pools = open_pools(config)
        self._authorizer, self._refused = self._made(config)
        self._lock = asyncio.Lock()
        self._leaves: asyncio.Task[None] | None = None
        self._reloads: set[asyncio.Task[None]] = set()
        metrics.loaded(fingerprint(config))

    @property
    def config(self) -> Config:
        """The configuration that is in force."""
        return self._config

    @property
    def is_immediate(self) -> bool:
        """Whether a check never waits; it depends on the identity source alone."""
        return self._authorizer.is_immediate

    def check(self, message: bytes) -> Awaitable[bytes]:
        """Answer one check by the configuration of now."""
        return self._authorizer.check(message)

    def receive(self, message: bytes) -> None:
        """Take what Envoy's access log says of refused keys."""
        self._refused.receive(message)

    def start(self) -> None:
        """Start what runs beside the checks."""
        self._leaves = asyncio.create_task(keep_leaves(self._config))

    def stop(self) -> None:
        """Stop it, and whatever reload is under way."""
        for task in (self._leaves, *self._reloads):
            if task is not None:
                task.cancel()

    def reload_soon(self) -> None:
        """Reload in a task of its own; for a signal handler."""
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def reload(self) -> None:
        """Read the configuration again and serve it, or log why the one before is kept."""
        # One at a time: of two at once the second reads after the first has swapped.
        async with self._lock:
            try:
                config, pools = await asyncio.to_thread(self._prepare)
            except (AuthzError, OSError) as error:
                self._metrics.not_reloaded()
                problems = error.problems if isinstance(error, ConfigError) else [str(error)]
                _log.error("configuration kept: the new one can't be used", why=problems)
                return
            except Exception as error:
                self._metrics.not_reloaded()
                # The type alone: a message could quote what it was about.
                _log.error("configuration kept", error=type(error).__name__)
                return
            self._swap(config, pools)

    def _prepare(self) -> tuple[Config, dict[str, KeyPool]]:
        config = self._load()
        # Envoy's own settings are none of ours.
        if paths := need_restart(self._config, config, ignored={"envoy"}):
            raise ConfigError([f"{path}: needs a restart" for path in paths])
        pools = open_pools(config)
        make_leaves(config)
        return config, pools

    def _swap(self, config: Config, pools: dict[str, KeyPool]) -> None:
        old, before = self._config, self._authorizer
        self._config, self.pools = config, pools | _same(old, config, self.pools)
        self._authorizer, self._refused = self._made(config)
        self._authorizer.before = before
        older: Authorizer | None = before
        while older is not None:
            # This setting has nothing to do with what Envoy knows: it counts from the next request.
            older.allow_byok = config.allow_byok
            older = older.before
        asyncio.get_running_loop().call_later(OVERLAP_SECONDS, _forget, self._authorizer)
        self._metrics.loaded(fingerprint(config))
        if self._leaves is not None:
            self._leaves.cancel()
            self.start()
        _log.info("configuration reloaded", changes=describe(old, config))

    def _made(self, config: Config) -> tuple[Authorizer, RefusedKeys]:
        authorizer = Authorizer(config, self._source, self.pools, self._metrics, self._ids)
        self._metrics.expect_keys(
            one.name for one in config.providers if one.key_references or one.signed
        )
        # Without the records of all requests this is all that there is to count.
        counted = None if config.usage.enabled else self._metrics.key_refused
        return authorizer, RefusedKeys(self.pools, counted)


def _same(old: Config, new: Config, pools: dict[str, KeyPool]) -> dict[str, KeyPool]:
    """Return the pools of providers whose keys are the same, since some of those may rest."""
    before = {
        (provider.name, provider.base_url, provider.key_references) for provider in old.providers
    }
    return {
        provider.name: pools[provider.name]
        for provider in new.providers
        if provider.name in pools
        and (provider.name, provider.base_url, provider.key_references) in before
    }


def _forget(authorizer: Authorizer) -> None:
    authorizer.before = None
