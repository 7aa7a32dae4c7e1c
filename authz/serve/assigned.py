"""Assigned limits and rules for models in the running service."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from authz.config.settings import Config
from authz.errors import AuthzError, ManagedByCoder, StartError
from authz.identity.open import open_database

if TYPE_CHECKING:
    from authz.assigned.current import AssignedRules

_log = structlog.get_logger(__name__)


async def start_assigned(config: Config, parts: AsyncExitStack) -> "AssignedRules | None":
    """Start reading the assigned rules, where something uses them.

    Args:
        config: the configuration.
        parts: gets the function that stops it.

    Raises:
        StartError: Coder manages the database, so there is no place for rules for models.
    """
    if not config.uses_assigned_rules:
        return None
    # Imported late: most gateways have no such rules.
    from authz.assigned.current import AssignedRules

    rules = AssignedRules(lambda: open_database(config.identity))
    parts.push_async_callback(rules.stop)
    try:
        # Otherwise the first requests would be refused until the rules are known.
        await rules.refresh()
    except ManagedByCoder as error:
        if config.models is not None and config.models.assigned:
            raise StartError(
                "models.assigned: needs a store of authz's own (identity: sqlite://… or "
                f"postgresql://…): {error}"
            ) from None
        return None
    except AuthzError as error:
        _log.error("assigned rules can't be used", why=str(error))
    rules.start()
    return rules
