"""Answer "why may alice use openai?" from the store and the configuration.

The command line, the token API and the page share it.
"""

from dataclasses import replace
from datetime import UTC, datetime

from authz.config.settings import Config
from authz.core.explanation import Answer, Gateway, Person, Token, explain
from authz.core.identity import Identity
from authz.core.rules import Mode
from authz.identity.accounts import ApiKey, User
from authz.identity.store import Store
from authz.model_rules.verdict import matching, objection
from authz.own_keys.store import OwnKeyStore


async def explain_use(
    store: Store,
    config: Config,
    user: User,
    provider: str,
    key: ApiKey | None = None,
    mode: Mode | None = None,
    model: str | None = None,
) -> list[Answer]:
    """Return whether a user may use a provider, and why, for one mode or for each.

    Args:
        store: has the user's groups.
        config: has the provider.
        user: the user.
        provider: the name of a provider, which need not exist.
        key: a token of the user; None for a token without rules.
        mode: the mode; None means each mode.
        model: the name of a model; None asks for none.

    Raises:
        StoreError: the store can't be read.
    """
    person = await read_person(store, config, user)
    answers = explain_person(person, config, provider, key, mode)
    if model is None:
        return answers
    identity = Identity(
        user_id=user.id,
        username=user.username,
        email="",
        token_id="" if key is None else key.id,
        token_name="",
        expires_at=None,
        memberships=person.groups,
    )
    return [_with_model(answer, config, identity, provider, model) for answer in answers]


async def read_person(store: Store, config: Config, user: User) -> Person:
    """Return what an explanation needs to know of a user.

    Raises:
        StoreError: the store can't be read.
    """
    problem = None if user.status == "active" else f"is {user.status}"
    groups = tuple(group.limits for group in await store.groups_of(user))
    # Without ``own_keys`` a check reads no stored keys.
    stored = [] if config.own_keys is None else await store.part(OwnKeyStore).list_keys(user)
    return Person(user.username, problem, groups, frozenset(one.provider for one in stored))


def explain_person(
    person: Person,
    config: Config,
    provider: str,
    key: ApiKey | None = None,
    mode: Mode | None = None,
) -> list[Answer]:
    """Return whether a person may use a provider, and why; arguments as ``explain_use``."""
    token = None
    if key is not None:
        is_over = key.expires_at < datetime.now(UTC)
        name = key.token_name or "of a session"
        token = Token(name, key.rules, "has expired" if is_over else None)
    gateway = gateway_of(config, provider)
    return [explain(person, token, gateway, one) for one in ([mode] if mode else Mode)]


def _with_model(
    answer: Answer, config: Config, identity: Identity, provider: str, model: str
) -> Answer:
    """Add the rules for models to an answer."""
    rules = config.models.rules if config.models is not None else ()
    found = matching((rule for rule in rules if rule.concerns(provider)), identity)
    if not found:
        reason = f"No rule for models is for {identity.username} at {provider}."
        return replace(answer, reasons=(*answer.reasons, reason))
    why = objection(found, model)
    reason = (
        f'The rules for models refuse "{model}": {why}.'
        if why
        else f'The rules for models allow "{model}".'
    )
    return replace(answer, allowed=answer.allowed and not why, reasons=(*answer.reasons, reason))


def gateway_of(config: Config, name: str) -> Gateway:
    """Return the settings for a provider.

    A central key counts if the configuration names one, whether or not it can be read now.
    """
    for provider in config.providers:
        if provider.name == name:
            has_central = provider.signed or provider.is_open or bool(provider.key_references)
            return Gateway(name, True, has_central, config.allow_byok)
    return Gateway(name, False, False, config.allow_byok)
