"""authz.core.refusals, compared with docs/refusals.md and Envoy's own replies."""

import re
import string
from pathlib import Path
from typing import Any

import pytest

from authz.core.decision_types import refuse
from authz.core.identity import Rejection
from authz.core.refusals import BY_ENVOY, REFUSALS, TOKEN_INVALID, Reason, Refusal
from authz.envoy.local_replies import local_replies
from authz.envoy.proxy_replies import tunnel_replies

_PAGE = (Path(__file__).parents[3] / "docs" / "refusals.md").read_text(encoding="utf-8")
_BY_AUTHZ = [refusal for refusal in REFUSALS.values() if refusal not in BY_ENVOY]
_TOKEN_REASONS = {*Rejection, Reason.TOKEN_MALFORMED}


def _rows(heading: str) -> list[list[str]]:
    section = _PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `.*$", section, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_page_lists_authzs_refusals() -> None:
    """Each refusal of authz has one row with its reason, status, type and code, and no other."""
    rows = _rows("By authz")
    assert all(len(row) == 6 and all(row) for row in rows)
    assert sorted(row[:4] for row in rows) == sorted(
        [str(one.reason), str(one.status), one.error_type, one.code] for one in _BY_AUTHZ
    )


def test_the_page_lists_envoys_refusals() -> None:
    """Each refusal of Envoy has one row with its code, status and type, and no other."""
    rows = _rows("By Envoy")
    assert all(len(row) == 5 and all(row) for row in rows)
    assert sorted(row[:3] for row in rows) == sorted(
        [one.code, str(one.status), one.error_type] for one in BY_ENVOY
    )


def test_envoys_replies_are_in_the_table() -> None:
    """Envoy's configuration uses the codes of the table with their types, and all of Envoy's."""
    replies = [mapper.to_dict() for mapper in (*local_replies(900).mappers, *tunnel_replies())]
    errors = [
        _error(reply) for reply in replies if "jsonFormat" in reply.get("bodyFormatOverride", {})
    ]
    found = {error["code"] for error in errors}
    assert found == {one.code for one in BY_ENVOY} | {"identity_unavailable", "route_not_supported"}
    for error in errors:
        assert error["type"] == REFUSALS[Reason(error["code"])].error_type


def _error(reply: dict[str, Any]) -> dict[str, str]:
    error: dict[str, str] = reply["bodyFormatOverride"]["jsonFormat"]["error"]
    return error


def test_every_reason_has_a_refusal() -> None:
    """The table has a row for each reason, and no two reasons are the same word."""
    assert set(REFUSALS) == {*Reason, *Rejection}
    assert len(REFUSALS) == len(Reason) + len(Rejection)


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=str)
def test_only_token_reasons_are_secret(refusal: Refusal) -> None:
    """The code is the reason, except that all refused tokens share one code."""
    is_secret = refusal.reason in _TOKEN_REASONS
    assert refusal.code == (TOKEN_INVALID if is_secret else refusal.reason)


def test_rejected_tokens_look_the_same() -> None:
    """Two rejected tokens get the same status, type, code and message, whatever the reason."""
    seen = {
        (denied.status, denied.error_type, denied.code, denied.message)
        for denied in (refuse(rejection) for rejection in Rejection)
    }
    assert len(seen) == 1


@pytest.mark.parametrize("refusal", _BY_AUTHZ, ids=str)
def test_a_message_needs_its_fields(refusal: Refusal) -> None:
    """A message takes any text for its fields, and a missing field is an error."""
    fields = [name for _, name, _, _ in string.Formatter().parse(refusal.message) if name]
    text = "{oops} %s"
    message = refuse(refusal.reason, dict.fromkeys(fields, text)).message
    assert message.count(text) == len(fields)
    if fields:
        with pytest.raises(KeyError):
            refuse(refusal.reason)
