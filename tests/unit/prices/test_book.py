"""The book of prices: which provider's prices apply, overrides, bounds."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from genai_prices import Usage, data
from genai_prices.types import ModelInfo, ModelPrice
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authz.addresses import parse_base_url
from authz.config.prices import PriceOverride, Prices
from authz.config.settings import DEFAULT_PROVIDERS, Provider
from authz.errors import ConfigError
from authz.prices import library
from authz.prices.book import PriceBook
from authz.usage.entry import Tokens

AT_MS = int(datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp() * 1000)
_SONNET = "claude-sonnet-4-5-20250929"


def _book(prices: Prices | None = None, providers: Iterable[Provider] = ()) -> PriceBook:
    return PriceBook(prices or Prices(), (*DEFAULT_PROVIDERS, *providers))


def _provider(kind: str, url: str, name: str = "one") -> Provider:
    return Provider(name=name, type=kind, base_url=parse_base_url(url))


def test_tokens_of_each_kind_have_their_own_price() -> None:
    """Input, cached input, cache writes and output each cost their own rate."""
    tokens = Tokens(input=1_000, cached=600, cache_write=300, output=10)
    # Dollars for a million tokens: 3, 0.30, 3.75 and 15.
    expected = 100 * 3_000 + 600 * 300 + 300 * 3_750 + 10 * 15_000
    assert _book().cost("anthropic", _SONNET, tokens, AT_MS) == expected


def test_the_tier_of_all_input_tokens_applies_to_the_whole_request() -> None:
    """A request above a tier's limit pays the tier's rates for all its tokens."""
    at = int(datetime(2025, 12, 1, tzinfo=UTC).timestamp() * 1000)
    book = _book()
    below = book.cost("anthropic", _SONNET, Tokens(input=200_000, cached=199_999), at)
    above = book.cost("anthropic", _SONNET, Tokens(input=200_001, cached=200_000), at)
    assert (below, above) == (199_999 * 300 + 3_000, 200_000 * 600 + 6_000)


_MODELS = [
    model
    for provider in data.providers
    for model in provider.models
    if library.rates_at(model, AT_MS) is not None
]


@given(
    st.sampled_from(_MODELS),
    *(st.integers(0, 2_000_000) for _ in range(5)),
    st.integers(AT_MS - 10**11, AT_MS + 10**10),
)
def test_costs_are_those_of_the_library(
    model: ModelInfo,
    cached: int,
    written: int,
    plain: int,
    output: int,
    reasoning: int,
    at_ms: int,
) -> None:
    """For every model of the book, a cost is what genai-prices computes, rounded up."""
    tokens = Tokens(
        input=plain + cached + written,
        cached=cached,
        cache_write=written,
        output=output + reasoning,
        reasoning=reasoning,
    )
    price = model.get_prices(datetime.fromtimestamp(at_ms / 1000, UTC))
    usage = Usage(
        input_tokens=tokens.input,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=tokens.output,
        output_reasoning_tokens=reasoning,
    )
    rates = library.rates_at(model, at_ms)
    assert rates is not None
    expected = price.calc_price(usage)["total_price"] * 10**9
    cost = rates.cost(tokens)
    assert cost is not None
    # Some prices of the book are finer than a nano-dollar for a million tokens.
    assert expected <= cost <= expected + 8
    assert cost <= rates.at_most(tokens.input or 0, tokens.output or 0)


@pytest.mark.parametrize(
    ("kind", "url", "model", "known"),
    [
        ("openai", "https://api.openai.com/v1", "gpt-5.2", "openai"),
        ("openai-compat", "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", "groq"),
        ("openai-compat", "https://openrouter.ai/api/v1", "openai/gpt-5.2", "openrouter"),
        ("openrouter", "https://openrouter.ai/api/v1", "openai/gpt-5.2", "openrouter"),
        ("openai", "https://x.openai.azure.com/openai/v1", "gpt-4o-2024-08-06", "azure"),
        ("azure", "https://mirror.example.com", "gpt-4o-2024-08-06", "azure"),
        (
            "bedrock",
            "https://bedrock-mantle.us-east-1.api.aws",
            "anthropic.claude-opus-4-6-v1",
            "aws",
        ),
        ("gemini", "https://generativelanguage.googleapis.com", "gemini-2.5-pro", "google"),
        (
            "gemini",
            "https://europe-west1-aiplatform.googleapis.com",
            "models/gemini-2.5-pro",
            "google",
        ),
        (
            "openai-compat",
            "https://us-aiplatform.googleapis.com/v1/projects/p/locations/us/endpoints/openapi",
            "google/gemini-2.5-pro",
            "google",
        ),
        ("anthropic", "https://mirror.example.com", _SONNET, "anthropic"),
        ("vercel", "https://ai-gateway.vercel.sh/v1", "openai/gpt-5.2", "prefixed"),
    ],
)
def test_the_book_of_a_provider_follows_its_url_and_type(
    kind: str, url: str, model: str, known: str
) -> None:
    """The URL of a known provider decides; a mirror has the prices of its type."""
    assert library.id_of(kind, str(parse_base_url(url))) == known
    cost = _book(providers=[_provider(kind, url)]).cost("one", model, Tokens(input=10), AT_MS)
    assert cost is not None
    assert cost > 0


def test_an_unknown_server_and_an_unknown_model_have_no_price() -> None:
    """A model without a price costs None, not nothing."""
    local = _provider("openai-compat", "https://llm.example.com/v1")
    book = _book(providers=[local])
    assert book.cost("one", "gpt-5.2", Tokens(input=10), AT_MS) is None
    assert book.cost("openai", "no-such-model", Tokens(input=10), AT_MS) is None
    assert book.cost("gone", "gpt-5.2", Tokens(input=10), AT_MS) is None
    assert book.price_at_most("one", "gpt-5.2", 10, 10, AT_MS) is None
    assert book.cost("openai", "gpt-5.2", Tokens(), AT_MS) is None


def test_books_name_the_prices_of_a_provider_or_none() -> None:
    """``books`` gives a provider the prices of another one, or no prices."""
    local = _provider("openai-compat", "https://llm.example.com/v1")
    book = _book(Prices(books={"one": "openai", "anthropic": "none"}), [local])
    one = book.cost("one", "gpt-5.2", Tokens(input=10), AT_MS)
    assert one == book.cost("openai", "gpt-5.2", Tokens(input=10), AT_MS)
    assert book.cost("anthropic", _SONNET, Tokens(input=10), AT_MS) is None


def test_the_first_matching_override_replaces_the_price() -> None:
    """An override beats the book, by a pattern without case, for its provider only."""
    prices = Prices(
        overrides=(
            PriceOverride(model="Claude-*[1m]", input=1, output=2, cached_input=0.1, request=0.01),
            PriceOverride(model="*", provider="openai", input=0, output=0),
        )
    )
    book = _book(prices)
    tokens = Tokens(input=100, cached=50, output=10)
    expected = 10_000_000 + 50 * 1_000 + 50 * 100 + 10 * 2_000
    assert book.cost("anthropic", "claude-X[1m]", tokens, AT_MS) == expected
    assert book.cost("openai", "whatever", tokens, AT_MS) == 0
    assert book.cost("anthropic", "claude-x1", tokens, AT_MS) is None


def test_a_bound_covers_cache_writes_and_changes_of_the_price() -> None:
    """The bound takes the dearest rate of input, and the dearer price around a change."""
    book = _book()
    # An hour's cache write costs 6 dollars, output 15.
    bound = book.price_at_most("anthropic", _SONNET, 1_000, 100, AT_MS)
    assert bound == 1_000 * 6_000 + 100 * 15_000
    # The price of this model doubles at midnight.
    gemini = _provider("gemini", "https://generativelanguage.googleapis.com")
    before = int(datetime(2026, 12, 31, 23, 30, tzinfo=UTC).timestamp() * 1000)
    book = _book(providers=[gemini])
    assert book.cost("one", "gemini-3.6-flash", Tokens(input=100), before) == 75_000
    assert book.price_at_most("one", "gemini-3.6-flash", 100, 0, before) == 150_000


def test_an_impossible_count_has_no_cost() -> None:
    """An impossible count has no cost, so it can't break the database's sums."""
    assert _book().cost("openai", "gpt-5.2", Tokens(input=10**12), AT_MS) is None


def test_a_wrong_book_is_an_error() -> None:
    """The error names the setting, what is possible, and what was probably meant."""
    with pytest.raises(ConfigError) as raised:
        _book(Prices(books={"openai": "opnai"}))
    assert str(raised.value).startswith("prices.books.openai: must be one of none, anthropic, ")
    assert str(raised.value).endswith(": did you mean openai?")


@pytest.mark.parametrize("bad", [-1, "3", True, float("nan"), 1e9, None])
def test_an_impossible_price_is_an_error(bad: object) -> None:
    """A price is a number of dollars that some model might cost."""
    with pytest.raises(ValidationError):
        PriceOverride.model_validate({"model": "x", "input": bad, "output": 1})


def test_two_overrides_of_the_same_model_are_an_error() -> None:
    """Two overrides of one model are an error, because the second would never apply."""
    override = PriceOverride(model="X", provider="corp", input=1, output=1)
    with pytest.raises(ValidationError, match=r"overrides\[1\]: x appears twice"):
        Prices(overrides=(override, override.model_copy(update={"input": 2})))


def test_a_price_without_tokens_is_no_price() -> None:
    """A model that is paid by the image or the minute has no price by tokens."""
    assert library.rates_of(ModelPrice()) is None
