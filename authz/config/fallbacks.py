"""Rules for the fallback providers of a provider."""

from collections.abc import Iterator

from authz.config.settings import Config, Provider
from authz.config.validation import known

_MAX_FALLBACKS = 4


def fallback_problems(config: Config) -> Iterator[str]:
    """Yield a message for each fallback provider that can't serve, beginning with its key."""
    if not known(config, "providers"):
        return
    if not all(known(one, "name", "type", "key", "keys", "fallback") for one in config.providers):
        return
    named = {one.name: one for one in config.providers}
    for index, provider in enumerate(config.providers):
        if not provider.fallback:
            continue
        where = f"providers[{index}].fallback"
        if len(provider.fallback) > _MAX_FALLBACKS:
            yield f"{where}: must have at most {_MAX_FALLBACKS} entries"
        if not provider.key_references:
            yield f"{where}: needs key or keys, because only a central key is tried elsewhere"
        if not vars(provider).get("retry_keys", True):
            yield f"{where}: needs retry_keys, which is false"
        for place, name in enumerate(provider.fallback):
            problem = _problem(provider, name, named)
            if problem is None and name in provider.fallback[:place]:
                problem = f"{name} appears twice"
            if problem is not None:
                yield f"{where}[{place}]: {problem}"
        yield from (f"{where}: {problem}" for problem in _other_sections(config))


def _problem(provider: Provider, name: str, named: dict[str, Provider]) -> str | None:
    other = named.get(name)
    if other is None:
        return f"there is no provider {name}: this gateway has {', '.join(named)}"
    if other is provider:
        return "must be another provider"
    if other.type != provider.type:
        return f"{name} has type {other.type}: use a provider of type {provider.type}"
    if not other.key_references:
        return f"{name} has no central key: set its key or keys"
    return None


def _other_sections(config: Config) -> Iterator[str]:
    """Yield what counts or allows by the first provider alone, and so would be wrong."""
    models = config.models if known(config, "models") else None
    if models is not None and known(models, "rules", "assigned"):
        has_names = any(rule.providers for rule in models.rules if known(rule, "providers"))
        if has_names or models.assigned:
            yield (
                "models would be asked about the first provider alone: use rules without providers "
                "and no models.assigned"
            )
    budgets = config.budgets if known(config, "budgets") else None
    if budgets is not None and known(budgets, "strict") and budgets.strict:
        yield (
            "budgets.strict would reserve at the prices of the first provider alone: use budgets "
            "without it"
        )
