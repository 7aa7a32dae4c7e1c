"""Store provider keys of users, for the token API and the pages alike."""

from dataclasses import dataclass

from authz.config.settings import Config
from authz.identity.accounts import User
from authz.identity.store import Store
from authz.own_keys.keyring import Keyring
from authz.own_keys.providers import check_provider
from authz.own_keys.store import OwnKey, OwnKeyStore, check_own_key


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The stored keys, for one request.

    Attributes:
        store: names the caller in the audit log.
        config: the current configuration.
        keyring: its master keys.
    """

    store: Store
    config: Config
    keyring: Keyring

    async def list_keys(self, user: User) -> list[OwnKey]:
        """Return the keys that a user has stored, by provider."""
        return await self.store.part(OwnKeyStore).list_keys(user)

    async def set_key(self, user: User, provider: str, text: str) -> OwnKey:
        """Store a key of a user.

        Raises:
            KeyRefused: the text can't be a key, or users can't store keys for this provider.
            ConfigError: the first master key can't be used.
            StoreError: the store can't be used.
        """
        check_provider(self.config, provider)
        key, master = check_own_key(text), self.keyring.newest
        stored, _ = await self.store.part(OwnKeyStore).set_key(user, provider, key, master)
        return stored

    async def remove_key(self, user: User, provider: str) -> bool:
        """Delete a stored key; return whether there was one."""
        return await self.store.part(OwnKeyStore).remove_key(user, provider)
