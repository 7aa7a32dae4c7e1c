"""Settings of prices."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictStr, model_validator

from authz.config.fields import ProviderName, Section

MAX_OVERRIDES = 1_000


def _model(text: str) -> str:
    if not text or len(text) > 200 or not text.isprintable() or " " in text:
        raise ValueError("must be the name of a model, such as gpt-5.2 or llama-*")
    return text.lower()


PerMillion = Annotated[float, Field(strict=True, ge=0, le=100_000, allow_inf_nan=False)]
"""Dollars for a million tokens."""
ModelPattern = Annotated[StrictStr, AfterValidator(_model)]


class PriceOverride(Section):
    """The price of models that the book lacks, or that cost something else.

    Attributes:
        model: name of the model; ``*`` stands for any text, and case is ignored. The first
            override that matches applies.
        provider: name of a provider of this file. Unset means all of them.
        input: dollars for a million input tokens.
        cached_input: dollars for a million input tokens from the provider's cache. Unset means
            ``input``.
        cache_write: dollars for a million input tokens that are written to the cache. Unset means
            ``input``.
        output: dollars for a million output tokens.
        request: dollars for each request, beside its tokens.
    """

    model: ModelPattern
    provider: ProviderName | None = None
    input: PerMillion
    cached_input: PerMillion | None = None
    cache_write: PerMillion | None = None
    output: PerMillion
    request: Annotated[float, Field(strict=True, ge=0, le=1000, allow_inf_nan=False)] = 0

    def matches(self, model: str) -> bool:
        """Return whether the override is for a model, whose name is in lower case."""
        # Names of models have brackets, which are patterns for fnmatch.
        return fnmatchcase(model, self.model.replace("[", "[[]").replace("?", "[?]"))


class Prices(Section):
    """Prices of models. The book is the package genai-prices, which authz contains.

    Attributes:
        books: the providers of the book whose prices apply, by the name of a provider of this
            file, such as ``corp: azure``. ``none`` means no prices but overrides. Unset means the
            one that belongs to the type and base URL.
        overrides: prices that replace those of the book.
        unpriced: whether a user with a strict budget gets a model without a price
            (docs/prices.md). For others the model is known from the response only.
    """

    books: dict[ProviderName, StrictStr] = Field(default_factory=dict)
    overrides: Annotated[tuple[PriceOverride, ...], Field(max_length=MAX_OVERRIDES)] = ()
    unpriced: Literal["pass", "refuse"] = "pass"

    @model_validator(mode="after")
    def _unique(self) -> Self:
        seen: set[tuple[str | None, str]] = set()
        for index, override in enumerate(self.overrides):
            key = (override.provider, override.model)
            if key in seen:
                raise ValueError(f"overrides[{index}]: {override.model} appears twice")
            seen.add(key)
        return self
