"""Last uses of tokens: the identity store knows of the API, the recorded requests of providers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from authz.identity.accounts import ApiKey
from authz.usage.store import UsageStore


async def with_last_uses(rows: UsageStore, keys: Sequence[ApiKey]) -> list[ApiKey]:
    """Return the same keys, each with its last use at the gateway or at a provider.

    A check writes nothing to the identity store, so that it has no last use of a token.

    Raises:
        StoreError: the recorded requests can't be read.
    """
    owners = {key.user_id for key in keys}
    if not owners:
        return []
    found = await rows.last_uses(owners.pop() if len(owners) == 1 else None)
    uses = {
        token_id: datetime.fromtimestamp(milliseconds / 1000, UTC)
        for token_id, milliseconds in found.items()
    }
    return [
        replace(key, last_used=max(filter(None, (key.last_used, uses.get(key.id))), default=None))
        for key in keys
    ]
