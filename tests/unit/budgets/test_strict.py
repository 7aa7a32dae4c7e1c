"""authz.budgets.strict: bounds that no request exceeds, and requests without one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.budgets.money import MAXIMUM
from authz.budgets.strict import Strict
from authz.config.prices import PriceOverride, Prices
from authz.config.settings import DEFAULT_PROVIDERS
from authz.core.admission import Admission
from authz.core.decision_types import Deny
from authz.core.declared import NO_MODEL, DeclaredRequest
from authz.core.refusals import Reason
from authz.core.rules import Mode
from authz.prices.book import PriceBook
from authz.usage.entry import Tokens
from tests.support.identities import identity_of

ALICE = identity_of("Abcdefghi1-Abcdefghijklmnopqrstu2", "alice")


def _at_most(_provider: str, model: str, inputs: int, outputs: int, _at_ms: int) -> int | None:
    return None if model == "unpriced" else inputs + 10 * outputs


STRICT = Strict(_at_most, unseen_input_tokens=5)


def _most(strict: Strict, declared: DeclaredRequest | None) -> int | Reason | None:
    most = strict.most(Admission(ALICE, "anthropic", Mode.CENTRALIZED, "id", declared))
    if isinstance(most, Deny):
        assert (most.status, most.identity) == (400, ALICE)
        return Reason(most.reason)
    return most


@pytest.mark.parametrize(
    ("declared", "most"),
    [
        (DeclaredRequest("m", "", 8, 100), 185),
        (DeclaredRequest("m", "", 0, 0), 5),
        (DeclaredRequest("m", "", 10**18, 100), MAXIMUM),
        (NO_MODEL, 0),
        (DeclaredRequest("unpriced", "", 8, 100), None),
        (DeclaredRequest("m", "", None, 100), Reason.OUTPUT_UNLIMITED),
        (DeclaredRequest("m", "", 8, None), Reason.MODEL_UNKNOWN),
        (DeclaredRequest(problem="Not JSON."), Reason.MODEL_UNKNOWN),
        (None, Reason.MODEL_UNKNOWN),
    ],
)
def test_the_most_of_a_request(declared: DeclaredRequest | None, most: int | Reason | None) -> None:
    """The bound comes from model, size and limit; an unknown value is refused, not taken for 0."""
    assert _most(STRICT, declared) == most


def test_what_settings_add() -> None:
    """A setting takes the place of a missing limit, and another refuses models without a price."""
    strict = Strict(_at_most, max_output_tokens=100, refuses_unpriced=lambda: True)
    assert _most(strict, DeclaredRequest("m", "", None, 1)) == 1001
    assert _most(strict, DeclaredRequest("m", "", 2, 1)) == 21
    assert _most(strict, DeclaredRequest("unpriced", "", 2, 1)) == Reason.MODEL_UNPRICED


_BOOK = PriceBook(
    Prices(overrides=(PriceOverride(model="own-*", input=1.5, cache_write=9, output=0.1),)),
    DEFAULT_PROVIDERS,
)


@settings(max_examples=60)
@given(
    st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-1", "claude-haiku-4-5", "own-a"]),
    st.integers(0, 400_000),
    st.integers(0, 100_000),
    st.data(),
)
def test_no_request_costs_more(model: str, size: int, limit: int, data: st.DataObject) -> None:
    """With the book's prices, any counts within size and limit cost at most what is reserved."""
    strict = Strict(_BOOK.price_at_most, unseen_input_tokens=2_000, clock=lambda: 1.7e9)
    most = _most(strict, DeclaredRequest(model, "", limit, size))
    assert isinstance(most, int)
    inputs = data.draw(st.integers(0, size + 2_000))
    cached = data.draw(st.integers(0, inputs))
    tokens = Tokens(
        input=inputs,
        output=data.draw(st.integers(0, limit)),
        cached=cached,
        cache_write=data.draw(st.integers(0, inputs - cached)),
    )
    cost = _BOOK.cost("anthropic", model, tokens, 1_700_000_000_000)
    assert cost is not None
    assert cost <= most
