"""Accounts that can accept exact keys."""

import hmac
from dataclasses import dataclass, field

from authz.demo import accounts


@dataclass(frozen=True)
class Accounts(accounts.Accounts):
    """The demo's accounts, with exact own keys.

    Attributes:
        own: the only own keys that are accepted; None accepts by format, as the demo does.
    """

    own: frozenset[str] | None = field(default=None, repr=False)

    def is_own_key(self, provider: str, value: str) -> bool:
        """Return whether a value is one of the own keys."""
        if self.own is None:
            return super().is_own_key(provider, value)
        return any(key and hmac.compare_digest(value.encode(), key.encode()) for key in self.own)
