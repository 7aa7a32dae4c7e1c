"""The prices of a configuration that a reload can change."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from authz.config.settings import Config
from authz.usage.charges import Cost

if TYPE_CHECKING:
    from authz.prices.book import PriceBook


def open_book(config: Config) -> "PriceBook | None":
    """Return the prices of a configuration, or None if it has none.

    Raises:
        ConfigError: the settings name a book that does not exist.
    """
    if config.prices is None:
        return None
    # Imported late: the library with its data takes 5 MB and 50 ms.
    from authz.prices.book import PriceBook

    return PriceBook(config.prices, config.providers)


class CurrentPrices:
    """The prices of the current configuration.

    Args:
        first: the configuration of the start.
        config: returns the current configuration, which ``open_book`` has checked.

    Raises:
        ConfigError: as ``open_book``.
    """

    def __init__(self, first: Config, config: Callable[[], Config]) -> None:
        self._config = config
        self._opened, self._book = first, open_book(first)

    @property
    def book(self) -> "PriceBook | None":
        """The prices now; None if there are none."""
        config = self._config()
        if config is not self._opened:
            self._opened, self._book = config, open_book(config)
        return self._book

    @property
    def cost_if_any(self) -> Cost | None:
        """The computation of costs now; None if there are no prices."""
        book = self.book
        return None if book is None else book.cost

    @property
    def refuses_unpriced(self) -> bool:
        """True if models without a price are refused where that is possible."""
        prices = self._config().prices
        return prices is not None and prices.unpriced == "refuse"

    def price_at_most(
        self, provider: str, model: str, input_tokens: int, output_tokens: int, at_ms: int
    ) -> int | None:
        """Return a bound on the cost of a request; see ``PriceBook.price_at_most``."""
        book = self.book
        if book is None:
            return None
        return book.price_at_most(provider, model, input_tokens, output_tokens, at_ms)
