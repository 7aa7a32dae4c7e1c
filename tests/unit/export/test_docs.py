"""docs/export.md has the fields that are exported."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authz.identity.audit import Action, Actor, Change, Entry, Resource
from authz.usage.record import FIELDS

_PAGE = Path(__file__).parents[3] / "docs" / "export.md"
_ENTRY = Entry("id", datetime.now(UTC), Actor("os"), Change(Action.CREATE, Resource.USER))


@pytest.mark.parametrize(
    ("section", "names"), [("Requests", FIELDS), ("Audit entries", tuple(_ENTRY.as_json()))]
)
def test_each_field_has_a_row(section: str, names: tuple[str, ...]) -> None:
    """The page names the fields of the code, and no others."""
    text = _PAGE.read_text().partition(f"### {section}\n")[2].partition("\n#")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(cells))) == sorted(names)
