"""The start of the limits that all replicas count together."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from authz.config.settings import Config
from authz.config.shared_limits import SharedLimits, ValkeyURL, place_of
from authz.database.url import SQLiteURL
from authz.errors import ConfigError, StartError
from authz.metrics import Metrics
from authz.usage.entry import UsageEntry
from authz.usage.spent import counted_tokens

if TYPE_CHECKING:
    from authz.assigned.current import AssignedRules
    from authz.limits.gate import LimitGate
    from authz.limits.limit import LimitStore

Record = Callable[[UsageEntry], None]


def open_limits(
    config: Config, metrics: Metrics, assigned: "AssignedRules | None" = None
) -> "LimitGate | None":
    """Return the gate of the limits, or None if there are none.

    Args:
        config: the configuration.
        metrics: counts the requests that pass uncounted.
        assigned: the limits that administrators set; None where there are none.

    Raises:
        ConfigError: the password can't be read.
        StartError: a library is missing.
    """
    shared = config.limits.shared
    if shared is None:
        return None
    # Imported late: most gateways have no such limits.
    from authz.limits.gate import LimitGate

    store = _open_store(shared, config.identity)
    return LimitGate(store, shared, metrics.count_uncounted, assigned)


def apply(gate: "LimitGate | None", config: Config) -> None:
    """Use the limits of a configuration that was read again."""
    # A reload neither adds nor removes the section.
    if gate is not None and config.limits.shared is not None:
        gate.use(config.limits.shared)


def recording(gate: "LimitGate | None", record: Record) -> Record:
    """Return a function that records a request, and counts its end."""
    if gate is None:
        return record

    def record_and_count(entry: UsageEntry) -> None:
        try:
            record(entry)
        finally:
            # Without its end the request would count as open for the longest time of one.
            gate.end(entry.id, counted_tokens(entry))

    return record_and_count


def _open_store(shared: SharedLimits, identity: str) -> "LimitStore":
    life_ms = shared.longest_request * 1000
    place = place_of(shared, identity)
    if place is None:
        from authz.limits.memory_store import MemoryStore

        return MemoryStore(life_ms)
    if isinstance(place, ValkeyURL):
        return _open_valkey(place, shared, life_ms)
    from authz.limits.sql_store import SqlStore, open_postgresql, open_sqlite

    if isinstance(place, SQLiteURL):
        return SqlStore(partial(open_sqlite, place), life_ms)
    return SqlStore(partial(open_postgresql, place), life_ms)


def _open_valkey(url: ValkeyURL, shared: SharedLimits, life_ms: int) -> "LimitStore":
    try:
        # Imported late: most gateways do not have the library.
        from authz.limits.valkey_store import ValkeyStore
    except ImportError:
        raise StartError(
            "limits.shared.store: needs the package redis, version 8 or newer"
        ) from None
    password = None
    if shared.password is not None:
        try:
            key = shared.password.open(os.environ)
            if key.current() is None:
                raise ValueError(f"${shared.password.env} is not set")
        except (OSError, ValueError) as error:
            raise ConfigError([f"limits.shared.password: {error}"]) from None
        password = key.current
    return ValkeyStore(url, life_ms, password, shared.ca_file)
