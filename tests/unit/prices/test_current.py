"""authz.prices.current: prices follow the configuration, and cost nothing without the section."""

import subprocess
import sys

from authz.config.prices import PriceOverride, Prices
from authz.config.settings import Config
from authz.prices.current import CurrentPrices
from authz.usage.entry import Tokens

_TOKENS = Tokens(input=10, output=1)


def _config(dollars: float) -> Config:
    override = PriceOverride(model="m", input=dollars, output=0)
    return Config(prices=Prices(overrides=(override,)))


def test_a_reload_brings_other_prices_or_none() -> None:
    """Costs and bounds are those of the configuration now; without prices there are none."""
    now = [_config(1)]
    prices = CurrentPrices(now[0], lambda: now[0])
    assert prices.cost_if_any is not None
    assert prices.cost_if_any("openai", "m", _TOKENS, 0) == 10_000
    now[0] = _config(2)
    assert prices.cost_if_any is not None
    assert prices.cost_if_any("openai", "m", _TOKENS, 0) == 20_000
    assert prices.price_at_most("openai", "m", 20, 5, 0) == 40_000
    now[0] = Config()
    assert prices.price_at_most("openai", "m", 20, 5, 0) is None
    assert prices.cost_if_any is None


def test_without_prices_the_book_is_not_loaded() -> None:
    """The service and the commands import the data only where the section is there."""
    code = (
        "import sys, authz.serve.service, authz.cli.main, authz.cli.usage\n"
        "from authz.config.settings import Config\n"
        "from authz.prices.current import CurrentPrices\n"
        "CurrentPrices(Config(), Config).book\n"
        "assert 'genai_prices' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
