"""Choose, search and sort the lines of the usage page, for the table and for its CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from authz.budgets.money import decimal_dollars
from authz.printable import csv_cell
from authz.usage.rows import Line

DAYS = (7, 30, 90)
_USUAL_DAYS = 30
OF_ONE = {"day": "Day", "model": "Model", "provider": "Provider", "mode": "Mode", "token": "Token"}
"""The values by which users may sum up their own requests, with the titles of their columns."""
OF_ALL = {"user": "User", "group": "Group", **OF_ONE}
"""The same for all requests, which an owner may sum up."""
EPOCH = date(1970, 1, 1)
_NAME = "name"
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers.

    Attributes:
        key: the field of a line, and the word in the query.
        is_money: whether the numbers are nano-dollars.
    """

    key: str
    title: str
    is_money: bool = False


COLUMNS = (
    Column("requests", "Requests"),
    Column("refusals", "Refused"),
    Column("input_tokens", "Tokens in"),
    Column("cached_tokens", "Cached"),
    Column("output_tokens", "Tokens out"),
    Column("unknown", "Unknown"),
)
COSTS = (Column("cost", "Cost", is_money=True), Column("own_cost", "Own keys", is_money=True))
"""The columns where there are prices."""
_KEYS = {_NAME, *(column.key for column in (*COLUMNS, *COSTS))}


@dataclass(frozen=True, slots=True)
class View:
    """The requests that the page shows, and their order.

    Attributes:
        days: the number of days until now.
        by: the value by which the requests are summed up, a key of ``OF_ALL``.
        search: part of the names to show; empty for all.
        sort: the key of a column; empty for the order of the store.
        ascending: the direction.
        user: the name of the user whose requests are shown; empty for all.
        group: the same for a group.
    """

    days: int = _USUAL_DAYS
    by: str = "model"
    search: str = ""
    sort: str = ""
    ascending: bool = False
    user: str = ""
    group: str = ""

    def link(self, path: str = "/usage", **changes: Any) -> str:
        """Return the address of the same view with some changes, below ``BASE``."""
        changed = replace(self, **changes)
        query = {"days": changed.days, "by": changed.by}
        for name in ("search", "sort", "user", "group"):
            if value := getattr(changed, name):
                query[name] = value
        if changed.sort and changed.ascending != (changed.sort == _NAME):
            query["order"] = "asc" if changed.ascending else "desc"
        return f"{path}?{urlencode(query)}"

    def sort_link(self, key: str) -> str:
        """Return the address that sorts by a column: largest first, then smallest first."""
        first = key == _NAME
        ascending = not self.ascending if self.sort == key else first
        return self.link(sort=key, ascending=ascending)

    def direction(self, key: str) -> str:
        """Return the value of ``aria-sort`` for a column."""
        if self.sort != key:
            return "none"
        return "ascending" if self.ascending else "descending"

    def apply(self, lines: Sequence[Line]) -> list[Line]:
        """Return the lines with the searched text, in the chosen order."""
        wanted = self.search.casefold()
        found = [line for line in lines if wanted in line.key.casefold()]
        if self.sort == _NAME:
            found.sort(key=lambda line: line.key.casefold(), reverse=not self.ascending)
        elif self.sort:
            found.sort(key=lambda line: getattr(line, self.sort), reverse=not self.ascending)
        return found


def read_view(query: QueryParams, *, shows_everyone: bool) -> View:
    """Return the view that a query asks for; a value that is not possible counts as missing."""
    count, by, sort = query.get("days", ""), query.get("by", ""), query.get("sort", "")
    choices = OF_ALL if shows_everyone else OF_ONE
    sort = sort if sort in _KEYS else ""
    # Names begin with the first letter, numbers with the largest.
    order = query.get("order", "asc" if sort == _NAME else "desc")

    def text(name: str) -> str:
        return query.get(name, "")[:_LONGEST].strip()

    return View(
        days=int(count) if count in map(str, DAYS) else _USUAL_DAYS,
        by=by if by in choices else "user" if shows_everyone else "model",
        search=text("search"),
        sort=sort,
        ascending=bool(sort) and order == "asc",
        user=text("user") if shows_everyone else "",
        group=text("group") if shows_everyone else "",
    )


def dated(lines: Sequence[Line]) -> list[Line]:
    """Return lines by day with the date as the name, newest first."""
    return [replace(line, key=str(EPOCH + timedelta(days=int(line.key)))) for line in lines][::-1]


def total(lines: Sequence[Line]) -> Line:
    """Return the sum of lines that have no request in common."""
    names = [field.name for field in fields(Line) if field.name != "key"]
    return Line("", **{name: sum(getattr(line, name) for line in lines) for name in names})


def as_csv(view: View, lines: Sequence[Line], *, has_prices: bool) -> str:
    """Return lines as CSV, with the columns of ``authz usage -o csv``."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    costs = ["cost_usd", "own_cost_usd", "unpriced"] if has_prices else []
    writer.writerow([view.by, *(column.key for column in COLUMNS), *costs])
    for line in lines:
        cells = [csv_cell(line.key), *(str(getattr(line, column.key)) for column in COLUMNS)]
        if has_prices:
            money = (decimal_dollars(line.cost), decimal_dollars(line.own_cost))
            # A small amount would have an exponent.
            cells += [*(f"{amount:f}" for amount in money), str(line.unpriced)]
        writer.writerow(cells)
    return file.getvalue()
