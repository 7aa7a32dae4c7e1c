"""The request matrix against the pure function."""

import itertools

import pytest

from authz.addresses import parse_base_url
from authz.config.settings import DEFAULT_PROVIDERS
from authz.core.credentials import Credentials, read
from authz.core.decision import decide, precheck
from authz.core.decision_types import Allow, ChosenKey, Deny, Route
from authz.core.identity import Identity, Rejection
from authz.core.providers import PROVIDER_TYPES
from authz.core.tokens import parse
from authz.secret import Secret
from tests.conformance.expected import TYPES, Cell, Forwarded, Refused, cells, expected
from tests.conformance.values import Values
from tests.support.identities import identity_of
from tests.support.pair import CENTRAL_KEYS
from tests.support.pair import TYPES as PROVIDER_TYPE_NAMES

VALUES = Values.made_up()


def _verification(token_id: str) -> Identity | Rejection:
    for kind, text in VALUES.tokens.items():
        if text.startswith(token_id):
            if kind == "expired":
                return Rejection.EXPIRED
            return Rejection.UNKNOWN if kind == "deleted" else identity_of(text, kind)
    raise AssertionError("a token that stands in no header was looked up")


def _decision(cell: Cell) -> tuple[Credentials, Allow | Deny]:
    provider_type = PROVIDER_TYPES[PROVIDER_TYPE_NAMES[cell.provider]]
    headers = VALUES.headers(cell)
    credentials = read((name, value.encode()) for name, value in headers.items())
    token = precheck(credentials, provider_type, allow_byok=cell.byok)
    if isinstance(token, Deny):
        return credentials, token
    route = Route(cell.provider, provider_type, supported=True, label="GET /")
    key = CENTRAL_KEYS.get(cell.provider)
    central = ChosenKey(Secret(key)) if key else None
    verification = _verification(token.id)
    return credentials, decide(
        credentials, route, token, verification, central, allow_byok=cell.byok
    )


def _mismatch(cell: Cell) -> str | None:
    wanted = expected(cell)
    credentials, decision = _decision(cell)
    got: object
    if isinstance(decision, Deny):
        got = Refused(decision.status, decision.error_type, decision.code)
    else:
        assert decision.header is not None
        source = "central" if decision.credential else cell_kind(cell, decision.header)
        got = Forwarded(decision.header, source)
        kept = credentials.named(decision.header)
        credential = (decision.credential or kept or Secret("")).reveal()
        if isinstance(wanted, Forwarded):
            if credential.removeprefix("Bearer ") != VALUES.forwarded(cell, wanted):
                got = f"another value in {decision.header}"
            elif decision.mode != wanted.mode:
                got = f"mode {decision.mode}"
    return None if got == wanted else f"{cell.name}: wanted {wanted}, got {got}"


def cell_kind(cell: Cell, header: str) -> str:
    """Return the kind of value in one of a cell's two provider headers."""
    return {"authorization": cell.authorization, "x-api-key": cell.x_api_key}[header]


@pytest.mark.parametrize(("name", "byok"), list(itertools.product(TYPES, (True, False))))
def test_every_cell(name: str, byok: bool) -> None:
    """The function does to each of the 343 combinations of headers what the rules say."""
    chosen = [cell for cell in cells() if (cell.provider, cell.byok) == (name, byok)]
    mismatches = [text for cell in chosen if (text := _mismatch(cell))]
    assert len(chosen) == 343
    assert not mismatches, "\n".join(mismatches[:20])


def test_the_matrix_holds_every_outcome() -> None:
    """Each outcome of the rules has cells, and their numbers add up to all cells."""
    outcomes = [expected(cell) for cell in cells()]
    assert len(outcomes) == 7 * 7 * 7 * 2 * 4 == 2744
    codes = {decision.code for decision in outcomes if isinstance(decision, Refused)}
    assert codes == {
        "byok_disabled",
        "token_invalid",
        "token_missing",
        "credential_required",
    }
    forwarded = {(o.header, o.source) for o in outcomes if isinstance(o, Forwarded)}
    assert forwarded == set(
        itertools.product(("authorization", "x-api-key"), ("central", "malformed", "provider key"))
    )


def test_the_providers_are_those_of_the_defaults() -> None:
    """The matrix covers the four providers of a fresh installation."""
    found = {provider.name: provider.type for provider in DEFAULT_PROVIDERS}
    assert found == PROVIDER_TYPE_NAMES
    assert {p.base_url for p in DEFAULT_PROVIDERS} >= {
        parse_base_url("https://api.anthropic.com/"),
        parse_base_url("https://chatgpt.com/backend-api/codex"),
    }
    assert parse(VALUES.malformed) is None
