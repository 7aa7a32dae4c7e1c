"""Answer "why may alice use openai?" from the store and the configuration.

The command line, the token API and the page share it.
"""

from datetime import UTC, datetime

from authz.config.settings import Config
from authz.core.explanation import Answer, Gateway, Person, Token, explain
from authz.core.rules import Mode
from authz.identity.accounts import ApiKey, User
from authz.identity.store import Store


async def explain_use(
    store: Store,
    config: Config,
    user: User,
    provider: str,
    key: ApiKey | None = None,
    mode: Mode | None = None,
) -> list[Answer]:
    """Return whether a user may use a provider, and why, for one mode or for each.

    Args:
        store: has the user's groups.
        config: has the provider.
        user: the user.
        provider: the name of a provider, which need not exist.
        key: a token of the user; None for a token without rules.
        mode: the mode; None means each mode.

    Raises:
        StoreError: the store can't be read.
    """
    groups = tuple(group.limits for group in await store.groups_of(user))
    person = Person(user.username, None if user.status == "active" else f"is {user.status}", groups)
    token = None
    if key is not None:
        is_over = key.expires_at < datetime.now(UTC)
        name = key.token_name or "of a session"
        token = Token(name, key.rules, "has expired" if is_over else None)
    gateway = gateway_of(config, provider)
    return [explain(person, token, gateway, one) for one in ([mode] if mode else Mode)]


def gateway_of(config: Config, name: str) -> Gateway:
    """Return the settings for a provider.

    A central key counts if the configuration names one, whether or not it can be read now.
    """
    for provider in config.providers:
        if provider.name == name:
            has_central = provider.signed or provider.is_open or bool(provider.key_references)
            return Gateway(name, True, has_central, config.allow_byok)
    return Gateway(name, False, False, config.allow_byok)
