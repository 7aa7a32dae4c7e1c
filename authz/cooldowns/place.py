"""The database through which authz processes tell each other of refused keys."""

from authz.config.settings import Config
from authz.config.shared_limits import place_of
from authz.database.url import PostgresURL, parse_identity_url


def shared_database(config: Config) -> PostgresURL | None:
    """Return the first PostgreSQL database that the configuration names, or None.

    All replicas have it in common. It stores nothing of this, so Coder's own will do, too.
    """
    found = [parse_identity_url(config.identity)]
    if config.usage.enabled and config.usage.database is not None:
        found.append(parse_identity_url(config.usage.database))
    if config.limits.shared is not None:
        place = place_of(config.limits.shared, config.identity)
        if isinstance(place, PostgresURL):
            found.append(place)
    return next((one for one in found if isinstance(one, PostgresURL)), None)
