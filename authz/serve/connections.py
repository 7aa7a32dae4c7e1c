"""The number of connections to PostgreSQL that an authz process opens."""

from collections import Counter
from collections.abc import Mapping

from authz.config.settings import Config
from authz.config.shared_limits import place_of
from authz.cooldowns.place import shared_database
from authz.database.url import PostgresURL, parse_identity_url
from authz.usage.service import database_url


def connections(config: Config) -> Mapping[str, int]:
    """Return the most connections that one process has, by the name of the database.

    A check needs those of the look-ups. Each other part has one, so that none waits for another.
    Coder's own database has fewer, because only look-ups use it.
    """
    found: Counter[str] = Counter()
    identity = parse_identity_url(config.identity)
    if isinstance(identity, PostgresURL):
        # Imported late: asyncpg takes a tenth of a second.
        from authz.identity.postgres_source import CONNECTIONS

        found[identity.display] = CONNECTIONS + sum(
            (
                True,  # the page, the API, notices and the retention of the audit log
                config.uses_assigned_rules,
                config.budgets is not None,
                config.export is not None and config.export.audit,
            )
        )
    if config.usage.enabled and (url := database_url(config)) is not None:
        usage = parse_identity_url(url)
        if isinstance(usage, PostgresURL):
            # One writes, and one reads for the page and the API.
            found[usage.display] += 2
    if config.limits.shared is not None:
        place = place_of(config.limits.shared, config.identity)
        if isinstance(place, PostgresURL):
            found[place.display] += 1
    sharing = shared_database(config)
    if sharing is not None and any(provider.keys for provider in config.providers):
        found[sharing.display] += 1
    return found
