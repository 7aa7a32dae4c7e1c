"""The prices that apply to the providers of a configuration."""

import difflib
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal

from cachetools import LRUCache
from genai_prices.types import ModelInfo

from authz.config.prices import PriceOverride, Prices
from authz.config.settings import Provider
from authz.errors import ConfigError
from authz.prices import library
from authz.prices.rates import Rates, Tier
from authz.usage.entry import Tokens

_NONE = "none"
_NANO = 1_000_000_000
_MAX_KNOWN = 2_000
"""Providers choose the names of models in their responses, and clients those in requests."""
_HOUR_MS = 3_600_000


class PriceBook:
    """Computes costs. It does no I/O and is cheap enough for an event loop.

    Args:
        prices: the settings.
        providers: the providers of the configuration.

    Raises:
        ConfigError: the settings name a book that does not exist.
    """

    def __init__(self, prices: Prices, providers: Iterable[Provider]) -> None:
        self._overrides = tuple((one, _rates(one)) for one in prices.overrides)
        self._ids = _ids(prices, providers)
        self._known: LRUCache[tuple[str, str], Rates | ModelInfo | None] = LRUCache(_MAX_KNOWN)

    def cost(self, provider: str, model: str, counts: Tokens, at_ms: int) -> int | None:
        """Return the cost of a request in nano-dollars; None for a model without a price.

        Args:
            provider: its name in the configuration.
            model: as the provider names it in its response.
            counts: the tokens that the provider counted.
            at_ms: when the request began; the price of that time applies.
        """
        rates = self.rates(provider, model, at_ms)
        return None if rates is None else rates.cost(counts)

    def price_at_most(
        self, provider: str, model: str, input_tokens: int, output_tokens: int, at_ms: int
    ) -> int | None:
        """Return a bound on the cost of a request in nano-dollars; None without a price.

        The bound is for requests with at most so many tokens, whichever of them the provider
        reads from its cache or writes to it, and also if the price changes within an hour.
        """
        bounds = [
            rates.at_most(input_tokens, output_tokens)
            for near_ms in (at_ms - _HOUR_MS, at_ms, at_ms + _HOUR_MS)
            if (rates := self.rates(provider, model, near_ms)) is not None
        ]
        return max(bounds, default=None)

    def rates(self, provider: str, model: str, at_ms: int) -> Rates | None:
        """Return the rates of a model at a time, or None if it has no price."""
        key = (provider, model)
        try:
            found = self._known[key]
        except KeyError:
            found = self._known[key] = self._find(provider, model)
        return library.rates_at(found, at_ms) if isinstance(found, ModelInfo) else found

    def _find(self, provider: str, model: str) -> Rates | ModelInfo | None:
        name = model.lower()
        for override, rates in self._overrides:
            if override.provider in (None, provider) and override.matches(name):
                return rates
        provider_id = self._ids.get(provider)
        return None if provider_id is None else library.find(provider_id, name)


def _ids(prices: Prices, providers: Iterable[Provider]) -> Mapping[str, str | None]:
    ids = {one.name: library.id_of(one.type, str(one.base_url)) for one in providers}
    known = library.ids()
    problems = [
        f"prices.books.{name}: must be one of none, {', '.join(known)}{_meant(book, known)}"
        for name, book in prices.books.items()
        if book != _NONE and book not in known
    ]
    if problems:
        raise ConfigError(problems)
    return ids | {
        name: None if book == _NONE else book for name, book in prices.books.items() if name in ids
    }


def _meant(text: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(text.lower(), known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _rates(override: PriceOverride) -> Rates:
    ordinary = _nano(override.input)
    write = ordinary if override.cache_write is None else _nano(override.cache_write)
    output = _nano(override.output)
    tier = Tier(
        above=-1,
        input=ordinary,
        cached=ordinary if override.cached_input is None else _nano(override.cached_input),
        cache_write=write,
        long_cache_write=write,
        output=output,
        reasoning=output,
    )
    return Rates((tier,), request=_nano(override.request))


def _nano(dollars: float) -> int:
    # The text of a float is what the file has; its binary value is not.
    return int((Decimal(repr(dollars)) * _NANO).to_integral_value(ROUND_CEILING))
