"""The providers for which users may store keys."""

from authz.config.settings import Config
from authz.own_keys.store import KeyRefused


def check_provider(config: Config, name: str) -> None:
    """Return if a user may store a key for a provider.

    Raises:
        KeyRefused: users may not bring keys, the provider is not configured, or takes no key.
    """
    if not config.allow_byok:
        raise KeyRefused("users may not bring their own keys (allow_byok: false)")
    provider = next((one for one in config.providers if one.name == name), None)
    if provider is None:
        names = ", ".join(config.provider_names)
        raise KeyRefused(f"there is no such provider; the providers are {names}")
    if provider.is_open:
        raise KeyRefused(f"provider {name} takes no key")
