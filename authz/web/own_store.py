"""Open authz's own identity store when a request first needs it, and again after a failure."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from authz.core.tokens import MAX_PER_USER
from authz.errors import ManagedByCoder, StoreError
from authz.identity.open import coder_base, open_store
from authz.identity.store import Store

_log = structlog.get_logger(__name__)

_PRUNE_SECONDS = 3600.0


class OwnStore:
    """authz's own identity store, unless Coder manages users and tokens.

    Args:
        identity: the ``identity`` URL of the configuration.
        audit_keep_days: number of days to keep entries of the audit log.
        max_tokens: the number of tokens that a user may have.
    """

    def __init__(self, identity: str, audit_keep_days: int, max_tokens: int = MAX_PER_USER) -> None:
        self._identity = identity
        self._keep = timedelta(days=audit_keep_days)
        self._max_tokens = max_tokens
        self._store: Store | None = None
        self._lock = asyncio.Lock()
        self.coder = coder_base(identity)

    async def get(self) -> Store:
        """Return the store.

        Raises:
            ManagedByCoder: Coder manages users and tokens.
            StoreError: the store can't be opened.
        """
        if self.coder is not None:
            raise ManagedByCoder(f"users and tokens are managed by Coder: {self.coder}")
        async with self._lock:
            if self._store is None:
                self._store = await open_store(self._identity, create=False)
                self._store.limit_tokens(self._max_tokens)
            return self._store

    def use(self, audit_keep_days: int, max_tokens: int) -> None:
        """Use the settings of a configuration that was read again."""
        self._keep = timedelta(days=audit_keep_days)
        self._max_tokens = max_tokens
        if self._store is not None:
            self._store.limit_tokens(max_tokens)

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def keep_audit_short(self) -> None:
        """Delete old entries of the audit log, now and every hour, until cancelled."""
        while self.coder is None:
            try:
                store = await self.get()
                await store.prune_audit(datetime.now(UTC) - self._keep)
            except ManagedByCoder:
                return
            except StoreError as error:
                _log.info("audit log not pruned", why=str(error))
            await asyncio.sleep(_PRUNE_SECONDS)
