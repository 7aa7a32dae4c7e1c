"""Split long lists into pages: writing all of one would delay the checks of requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request

COUNT = 200
"""Lines on a page."""
_DIGITS = 7

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ListPage(Generic[_T]):
    """One page of a list.

    Attributes:
        lines: the lines to show.
        offset: number of lines before them.
        previous: offset of the page before; None on the first page.
        next: offset of the page after; None on the last page.
    """

    lines: Sequence[_T]
    offset: int
    previous: int | None
    next: int | None


def requested_offset(request: Request) -> int:
    """Return the offset in the query; 0 if it is not a number."""
    text = request.query_params.get("from", "")
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    return int(text) if is_number else 0


def list_page(found: Sequence[_T], offset: int) -> ListPage[_T]:
    """Return the page that begins at an offset.

    Args:
        found: the lines from the offset on; one more than ``COUNT`` if there is a next page.
        offset: as ``requested_offset`` returns it.
    """
    previous = max(0, offset - COUNT) if offset else None
    return ListPage(found[:COUNT], offset, previous, offset + COUNT if len(found) > COUNT else None)
