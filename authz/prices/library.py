"""The prices of the package genai-prices, which has them as data.

It takes 5 MB and 50 ms. Only a process that computes costs imports this module.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from genai_prices import data
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from authz.prices.rates import Rates, Tier

_BY_ID = {provider.id: provider for provider in data.providers}
_BY_TYPE = {
    "anthropic": "anthropic",
    "openai": "openai",
    "azure": "azure",
    "google": "google",
    "gemini": "google",
    "bedrock": "aws",
    "copilot": "github-copilot",
    "openrouter": "openrouter",
}
"""The providers of types that speak to one provider. The others need a known base URL."""

PREFIXED = "prefixed"
"""In place of an id: the model's name begins with that of its provider, as ``openai/gpt-5``."""

_GOOGLE = "google"
_NANO_PER_DOLLAR = 1_000_000_000
_NANO_PER_THOUSANDTH = 1_000_000
_MAX_KNOWN = 1_000
"""Providers choose the names of models."""


def ids() -> tuple[str, ...]:
    """Return the ids of all providers that have prices."""
    return tuple(_BY_ID)


def id_of(kind: str, base_url: str) -> str | None:
    """Return the id of a provider by its type and base URL, or None if it is not known."""
    for provider in data.providers:
        if re.match(provider.api_pattern, base_url):
            return provider.id
    return PREFIXED if kind == "vercel" else _BY_TYPE.get(kind)


@lru_cache(maxsize=_MAX_KNOWN)
def find(provider_id: str, model: str) -> ModelInfo | None:
    """Return a model by the name that requests and responses have for it, or None."""
    name = model.lower()
    if provider_id == PREFIXED:
        provider_id, _, name = name.partition("/")
    provider = _BY_ID.get(provider_id)
    if provider is None or not name:
        return None
    return _find(provider, name)


def _find(provider: Provider, name: str) -> ModelInfo | None:
    found = provider.find_model(name, all_providers=data.providers)
    if found is None and provider.id == _GOOGLE:
        # Its APIs also write models/NAME, publishers/google/models/NAME and google/NAME.
        found = provider.find_model(name.rpartition("/")[2], all_providers=data.providers)
    return found


def rates_at(model: ModelInfo, at_ms: int) -> Rates | None:
    """Return the rates of a model at a time, or None if it has no price by tokens."""
    if isinstance(model.prices, ModelPrice):
        return _known_rates(_Identity(model.prices))
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return _known_rates(_Identity(model.get_prices(at))) if model.prices else None


class _Identity:
    """A price, by its identity: prices of the library can't be hashed."""

    __slots__ = ("price",)

    def __init__(self, price: ModelPrice) -> None:
        self.price = price

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.price is self.price

    def __hash__(self) -> int:
        return id(self.price)


@lru_cache(maxsize=_MAX_KNOWN)
def _known_rates(identity: _Identity) -> Rates | None:
    return rates_of(identity.price)


def rates_of(price: ModelPrice) -> Rates | None:
    """Return the rates of a price; None if it has no price by tokens."""
    values = {key: value for key, value in vars(price).items() if value is not None}
    if "input_mtok" not in values and "output_mtok" not in values:
        return None
    starts = {
        tier.start
        for value in values.values()
        if isinstance(value, TieredPrices)
        for tier in value.tiers
    }
    return Rates(
        tiers=tuple(_tier(values, above) for above in (-1, *sorted(starts))),
        request=_up(values.get("requests_kcount", Decimal()), _NANO_PER_THOUSANDTH),
    )


def _tier(values: dict[str, Decimal | TieredPrices], above: int) -> Tier:
    def rate(key: str, otherwise: int = 0) -> int:
        value = values.get(key)
        if isinstance(value, TieredPrices):
            applying: Iterable[Decimal] = (t.price for t in value.tiers if t.start <= above)
            value = [value.base, *applying][-1]
        return otherwise if value is None else _up(value, _NANO_PER_DOLLAR)

    ordinary, output = rate("input_mtok"), rate("output_mtok")
    write = rate("cache_write_mtok", ordinary)
    return Tier(
        above=above,
        input=ordinary,
        cached=rate("cache_read_mtok", ordinary),
        cache_write=write,
        long_cache_write=rate("cache_write_1h_mtok", write),
        output=output,
        reasoning=rate("output_reasoning_mtok", output),
    )


def _up(dollars: "Decimal | TieredPrices", factor: int) -> int:
    assert isinstance(dollars, Decimal)  # noqa: S101 - only prices of tokens have tiers
    return int((dollars * factor).to_integral_value(ROUND_CEILING))
