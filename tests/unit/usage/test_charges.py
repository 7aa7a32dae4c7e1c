"""authz.usage.charges."""

from dataclasses import replace

import pytest

from authz.usage.charges import charge_of, priced
from authz.usage.entry import NO_TOKENS, Tokens, Usage, UsageEntry

ENTRY = UsageEntry(
    id="a-1",
    time_ms=5,
    decision="allow",
    status=200,
    usage=Usage.COMPLETE,
    duration_ms=1,
    provider="anthropic",
    mode="centralized",
    model="claude",
    tokens=Tokens(input=3, output=4),
)


def _cost(provider: str, model: str, counts: Tokens, at_ms: int) -> int | None:
    """Price one model of one provider, at 1 nano-dollar for each token and millisecond."""
    if (provider, model) != ("anthropic", "claude"):
        return None
    return ((counts.input or 0) + (counts.output or 0)) * at_ms


@pytest.mark.parametrize(
    ("changes", "charge"),
    [
        ({}, ("a-1", 35)),
        ({"usage": Usage.PARTIAL}, ("a-1", 35)),
        ({"model": "unknown"}, ("a-1", None)),
        ({"model": None}, ("a-1", None)),
        ({"tokens": NO_TOKENS}, ("a-1", None)),
        *(
            ({"usage": one, "tokens": NO_TOKENS}, ("a-1", None))
            for one in (Usage.FAILED, Usage.COMPRESSED, Usage.CANCELLED, Usage.UNREPORTED)
        ),
        ({"usage": Usage.ERROR, "status": 529}, ("a-1", 0)),
        ({"usage": Usage.REFUSED, "status": 429}, ("a-1", 0)),
        ({"usage": Usage.NONE}, ("a-1", 0)),
        ({"usage": Usage.NONE, "status": 101}, ("a-1", None)),
        ({"mode": "byok"}, None),
        ({"mode": None}, None),
        ({"provider": None}, None),
    ],
)
def test_a_record_becomes_a_charge(
    changes: dict[str, object], charge: tuple[str, int | None] | None
) -> None:
    """A record costs its price, nothing, or an unknown amount; an own key has no charge."""
    entry = replace(ENTRY, **changes)  # type: ignore[arg-type]
    assert charge_of(priced(entry, _cost)) == charge


def test_every_kind_of_usage_has_a_charge() -> None:
    """Every kind of usage has a charge, including one that is added later."""
    entries = [priced(replace(ENTRY, usage=one), _cost) for one in Usage]
    assert all(charge_of(one) is not None for one in entries)
