"""Azure, Gemini and Bedrock: the credential that reaches them, for every combination of headers."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.support.every_type import (
    CENTRAL,
    OWN,
    SESSION_TOKEN,
    is_signed,
)
from tests.support.pair import Pair
from tests.support.requests import Exchange, exchange, leaks

GOVERNANCE = "x-coder-ai-governance-token"
MODELS = {
    "azure": "/azure/openai/models?api-version=2025-04-01-preview",
    "gemini": "/gemini/v1beta/models",
    "bedrock": "/bedrock/openai/v1/models",
    "mantle": "/mantle/v1/models",
}
SDK_HEADERS = {"azure": "api-key", "gemini": "x-goog-api-key"}
"""The header in which each SDK sends its key; for Bedrock it is one of the other headers."""
OWN_SOURCES = {
    "azure": ("api-key", "authorization"),
    "gemini": ("x-goog-api-key", "authorization"),
    "bedrock": ("x-api-key", "authorization"),
    "mantle": ("x-api-key", "authorization"),
}
KINDS = ("none", "token", "own")


@dataclass(frozen=True)
class Cell:
    """The kinds of values in the four credential headers."""

    provider: str
    byok: bool
    kinds: tuple[tuple[str, str], ...]

    def kind(self, header: str) -> str:
        return dict(self.kinds).get(header, "none")


def _cells(provider: str, byok: bool) -> Iterator[Cell]:
    places = (GOVERNANCE, "authorization", "x-api-key", SDK_HEADERS.get(provider, "api-key"))
    for kinds in itertools.product(KINDS, repeat=4):
        yield Cell(provider, byok, tuple(zip(places, kinds, strict=True)))


def _expected(cell: Cell) -> tuple[str, str]:
    """Return ``("byok", header)``, ``("centralized", header)`` or ``("refused", status)``."""
    own = ""
    if cell.kind(GOVERNANCE) != "none":
        sources = OWN_SOURCES[cell.provider]
        own = next((header for header in sources if cell.kind(header) == "own"), "")
    if own and not cell.byok:
        return "refused", "403"
    places = [GOVERNANCE]
    if cell.kind(GOVERNANCE) == "none":
        places = ["authorization", "x-api-key", SDK_HEADERS.get(cell.provider, "")]
    if "token" not in {cell.kind(header) for header in places}:
        return "refused", "401"
    if own:
        return "byok", own
    central = {"azure": "api-key", "gemini": "x-goog-api-key", "bedrock": "authorization"}
    if cell.provider not in central:
        return "refused", "401"
    return "centralized", central[cell.provider]


def _headers(cell: Cell, token: str) -> dict[str, str]:
    headers = {}
    for header, kind in cell.kinds:
        value = {"none": "", "token": token, "own": OWN[cell.provider]}[kind]
        if value:
            headers[header] = f"Bearer {value}" if header == "authorization" else value
    return headers


def _check(cell: Cell, exchanged: Exchange, token: str, url: str) -> None:
    outcome, what = _expected(cell)
    if outcome == "refused":
        assert exchanged.answer.status_code == int(what), exchanged.answer.text
        assert exchanged.answer.json()["error"]["message"]
        assert exchanged.seen == []
        return
    assert exchanged.answer.status_code == 200, exchanged.answer.text
    assert exchanged.answer.headers["x-demo-credential-kind"] == outcome
    (seen,) = exchanged.seen
    assert not leaks(seen, [token])
    if cell.provider == "bedrock" and outcome == "centralized":
        assert {name for name, _ in exchanged.credentials} == {what, "x-amz-security-token"}
        assert is_signed(seen, url)
        return
    value = OWN[cell.provider] if outcome == "byok" else CENTRAL[cell.provider]
    value = f"Bearer {value}" if what == "authorization" else value
    assert exchanged.credentials == [(what, value)]
    assert not [name for name, _ in seen.headers if name.startswith("x-amz-")]


@pytest.mark.parametrize(("name", "byok"), list(itertools.product(MODELS, (True, False))))
def test_every_cell(name: str, byok: bool, every_type: Pair, every_type_without_byok: Pair) -> None:
    """Each of the 81 combinations gets its status, and the provider gets one credential."""
    pair = every_type if byok else every_type_without_byok
    token = pair.create_token("alice")
    cells = list(_cells(name, byok))
    requests = [
        httpx.Request("GET", pair.url + MODELS[name], headers=_headers(cell, token))
        for cell in cells
    ]
    exchanges = exchange(pair, requests)
    mismatches = []
    for cell, exchanged in zip(cells, exchanges, strict=True):
        try:
            _check(cell, exchanged, token, pair.provider.server.url)
        except (AssertionError, KeyError, ValueError) as error:
            mismatches.append(f"{cell}: wanted {_expected(cell)}: {error!r:.300}")
    assert not mismatches, f"{len(mismatches)} of {len(cells)}:\n" + "\n".join(mismatches[:20])
    assert SESSION_TOKEN not in pair.stdout + pair.stderr
