"""The request matrix through a real Envoy and a real authz."""

import itertools

import httpx
import pytest

from tests.conformance.expected import TYPES, Cell, Refused, cells, expected
from tests.conformance.values import Values
from tests.support.pair import OWN_CREDENTIALS, Pair
from tests.support.requests import MODELS, Exchange, check_refusal, exchange, leaks, shape_of


@pytest.fixture(scope="module")
def values(gateway: Pair, gateway_without_byok: Pair) -> dict[bool, Values]:
    """The tokens of both pairs, with BYOK on and off."""
    return {True: Values.of(gateway), False: Values.of(gateway_without_byok)}


def _request(pair: Pair, cell: Cell, values: Values) -> httpx.Request:
    return httpx.Request("GET", pair.url + MODELS[cell.provider], headers=values.headers(cell))


def _check(cell: Cell, values: Values, exchanged: Exchange) -> None:
    wanted = expected(cell)
    shape = shape_of(cell.provider)
    if isinstance(wanted, Refused):
        error = check_refusal(exchanged, wanted.status, wanted.error_type, shape)
        if shape == "openai":
            assert error["code"] == wanted.code
        return
    credential = values.forwarded(cell, wanted)
    sent = f"Bearer {credential}" if wanted.header == "authorization" else credential
    assert exchanged.credentials == [(wanted.header, sent)]
    (seen,) = exchanged.seen
    assert seen.provider == cell.provider
    assert not leaks(seen, list(values.tokens.values()))
    answer = exchanged.answer
    if wanted.source == "central" or credential in OWN_CREDENTIALS:
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-demo-credential-kind"] == wanted.mode
    else:
        # The provider itself refuses what it got for the user's own credential.
        assert answer.status_code == 401
        assert "x-should-retry" not in answer.headers
    assert credential not in answer.text


def _mismatch(cell: Cell, values: Values, exchanged: Exchange) -> str | None:
    try:
        _check(cell, values, exchanged)
    except (AssertionError, KeyError, ValueError) as error:
        return f"{cell.name}: wanted {expected(cell)}: {error!r:.300}"
    return None


@pytest.mark.parametrize(("name", "byok"), list(itertools.product(TYPES, (True, False))))
def test_every_cell(
    name: str,
    byok: bool,
    gateway: Pair,
    gateway_without_byok: Pair,
    values: dict[bool, Values],
) -> None:
    """Each of the 343 combinations gets its status, and the provider gets one credential."""
    pair = gateway if byok else gateway_without_byok
    chosen = [cell for cell in cells() if (cell.provider, cell.byok) == (name, byok)]
    requests = [_request(pair, cell, values[byok]) for cell in chosen]
    exchanges = exchange(pair, requests)
    mismatches = [
        text
        for cell, exchanged in zip(chosen, exchanges, strict=True)
        if (text := _mismatch(cell, values[byok], exchanged))
    ]
    assert not mismatches, f"{len(mismatches)} of 343:\n" + "\n".join(mismatches[:20])
