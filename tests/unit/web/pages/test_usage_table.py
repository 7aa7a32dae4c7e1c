"""authz.web.pages.usage_table: any query, and the links that lead to the same view."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from authz.usage.rows import Line
from authz.web.pages.usage_table import COLUMNS, COSTS, OF_ALL, OF_ONE, View, as_csv, read_view

_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300)
_KEYS = ["name", *(column.key for column in (*COLUMNS, *COSTS))]
_QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "days": st.sampled_from(["7", "30", "90"]) | _TEXT,
        "by": st.sampled_from([*OF_ALL]) | _TEXT,
        "sort": st.sampled_from(_KEYS) | _TEXT,
        "order": st.sampled_from(["asc", "desc"]) | _TEXT,
        "search": _TEXT,
        "user": _TEXT,
        "group": _TEXT,
    },
)


@given(_QUERIES, st.booleans())
def test_any_query_is_a_view_and_its_link_leads_there(
    query: dict[str, str], shows_everyone: bool
) -> None:
    """Impossible values count as missing, and members get no view of other people."""
    view = read_view(QueryParams(query), shows_everyone=shows_everyone)
    assert view.by in (OF_ALL if shows_everyone else OF_ONE)
    assert shows_everyone or (view.user, view.group) == ("", "")
    address = urlsplit(view.link())
    assert address.path == "/usage"
    assert read_view(QueryParams(address.query), shows_everyone=shows_everyone) == view
    view.apply([Line("A", 1, 1, 1, 1, 1, 1), Line("b", 2, 2, 2, 2, 2, 2)])


@pytest.mark.parametrize("key", _KEYS)
def test_a_heading_sorts_both_ways(key: str) -> None:
    """The first click begins with the first name or the largest number, the second reverses it."""
    lines = [Line(name, n, n, n, n, n, n, cost=n, own_cost=n) for n, name in enumerate("bAc")]
    view, orders = View(), []
    for _ in range(2):
        query = QueryParams(urlsplit(view.sort_link(key)).query)
        view = read_view(query, shows_everyone=True)
        orders.append([line.key for line in view.apply(lines)])
    expected = ["A", "b", "c"] if key == "name" else ["c", "A", "b"]
    assert orders == [expected, expected[::-1]]


def test_csv_has_no_exponents() -> None:
    """A cost of one nano-dollar is written out, and there are no costs without prices."""
    line = Line("=m", 1, 0, 2, 0, 3, 0, cost=1, own_cost=0, unpriced=4)
    text = as_csv(View(), [line], has_prices=True)
    assert text.splitlines()[1] == "'=m,1,0,2,0,3,0,0.000000001,0.000000000,4"
    assert "cost" not in as_csv(View(), [line], has_prices=False)
