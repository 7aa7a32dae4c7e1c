"""Sharing of refused central keys in the running service."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge

from authz.config.settings import Config
from authz.cooldowns.place import shared_database

if TYPE_CHECKING:
    from authz.cooldowns.sharing import CooldownSharing
    from authz.serve.reloading import Reloadable


def open_sharing(
    config: Config, registry: CollectorRegistry, reloadable: "Callable[[], Reloadable]"
) -> "CooldownSharing | None":
    """Return what shares refused keys with other processes; None without PostgreSQL.

    Args:
        config: the configuration.
        registry: gets the metric.
        reloadable: returns the current configuration and its pools, once sharing has started.
    """
    url = shared_database(config)
    if url is None:
        return None
    # Imported late: asyncpg takes a tenth of a second.
    from authz.cooldowns.sharing import CooldownSharing, SharedPool

    is_up = Gauge(
        "authz_central_key_sharing_up",
        "1 if refused central keys are shared with other authz processes or there is no pool of "
        "keys, else 0.",
        registry=registry,
        multiprocess_mode="livemin",
    )
    is_up.set(1)

    def pools() -> dict[str, SharedPool]:
        now = reloadable()
        urls = {provider.name: str(provider.base_url) for provider in now.config.providers}
        return {
            name: SharedPool(pool, urls[name])
            for name, pool in now.pools.items()
            if pool.has_cooldown
        }

    return CooldownSharing(url, pools, is_up.set, lambda provider: reloadable().renew_key(provider))
