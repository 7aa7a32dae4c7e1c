"""Long lists in parts: a page of all would hold up every check while it is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request

COUNT = 200
"""Lines on a page."""
_DIGITS = 7

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Part(Generic[_T]):
    """A part of a list.

    Attributes:
        lines: what is shown.
        first: how many come before them.
        before: where the part before begins; None for the first part.
        after: where the next one begins; None for the last.
    """

    lines: Sequence[_T]
    first: int
    before: int | None
    after: int | None


def first_of(request: Request) -> int:
    """Return where the part begins that the query asks for; 0 for whatever is no number."""
    asked = request.query_params.get("from", "")
    is_number = asked.isascii() and asked.isdigit() and len(asked) <= _DIGITS
    return int(asked) if is_number else 0


def part(found: Sequence[_T], first: int) -> Part[_T]:
    """Return the part that begins at ``first``.

    Args:
        found: its lines and, if there are more, at least one of those.
        first: as of ``first_of``.
    """
    before = max(0, first - COUNT) if first else None
    return Part(found[:COUNT], first, before, first + COUNT if len(found) > COUNT else None)
