"""authz.core.query."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.query import NONE, QueryCredentials, QueryNames, find

NAMES = QueryNames(("key", "access_token", "api-key"))
GOOGLES = QueryNames(("key",), ("$userProject", "userProject"), ("$httpHeaders", "$httpMethod"))

_names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
_ordinary = _names.filter(
    lambda name: not any(word in name.lower() for word in ("key", "token", "&", ";", "?", "%"))
)


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("key=K", ("key",)),
        ("a=1&key=K&key=L", ("key",)),
        ("key", ("key",)),
        ("api-key=K&access_token=T", ("access_token", "api-key")),
    ],
)
def test_plain(query: str, plain: tuple[str, ...]) -> None:
    """A key is plain if Envoy finds it by its name."""
    assert find(f"/x?{query}", NAMES) == QueryCredentials(plain)


@pytest.mark.parametrize(
    "query",
    [
        "k%65y=K",
        "%6b%65%79=K",
        "KEY=K",
        "a;key=K",
        "?key=K",
        "a=1%26key=K",
        "a=1%3bkey=K",
        "k%2565y=K",
        "key%3D1",
        "key%00=K",
        "key[]=K",
        "$key=K",
        "+key=K",
        "apikey=K",
        "API_KEY=K",
        "key=K&Key=L",
        "a=%25252525252525",
    ],
)
def test_hidden(query: str) -> None:
    """A key is hidden if Envoy would leave it in, or if it is escaped too often to tell."""
    assert find(f"/x?{query}", NAMES).hidden


@pytest.mark.parametrize(
    "query", ["", "a=key", "a=key=1", "monkey=1", "keys=1", "pageToken=a", "a=%25", "=key"]
)
def test_nothing(query: str) -> None:
    """A parameter that only resembles a key passes."""
    assert find(f"/x?{query}", NAMES) == NONE


def test_of_a_type_without_any() -> None:
    """The query is not searched if the provider takes no credential from it."""
    assert find("/x?key=K", QueryNames()) == NONE
    assert find("/key=K", NAMES) == NONE


@pytest.mark.parametrize(
    ("query", "override"),
    [
        ("$httpHeaders=x-goog-api-key:K", "$httpHeaders"),
        ("%24httpHeaders=x", "$httpHeaders"),
        ("a=1&%2524HTTPHEADERS", "$httpHeaders"),
        ("httpHeaders=x", "$httpHeaders"),
        ("userProject=p;$httpMethod=DELETE", "$httpMethod"),
        ("key=K;$httpMethod=DELETE", None),
        ("a=$httpMethod", None),
        ("$httpMethods=1", None),
    ],
)
def test_what_replaces_headers_or_the_method(query: str, override: str | None) -> None:
    """The parameter is found in every spelling, and reported by its documented name."""
    assert find(f"/x?{query}", GOOGLES).override == override


@pytest.mark.parametrize(
    ("query", "accounts", "hidden"),
    [
        ("userProject=p", ("userProject",), False),
        ("$userProject=p&userProject=q", ("$userProject", "userProject"), False),
        ("%24userProject=p", (), True),
        ("userproject=p", (), True),
        ("userProject=p;key=K", ("userProject",), True),
    ],
)
def test_what_chooses_an_account(query: str, accounts: tuple[str, ...], hidden: bool) -> None:
    """The account is listed if Envoy can remove it, and hidden otherwise."""
    assert find(f"/x?{query}", GOOGLES) == QueryCredentials((), hidden, accounts)


@given(st.lists(st.tuples(_ordinary, _ordinary), max_size=4))
def test_ordinary_parameters_pass(pairs: list[tuple[str, str]]) -> None:
    """Ordinary parameters pass in any spelling."""
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    assert find(f"/x?{query}", NAMES) == NONE


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 2), _ordinary)
def test_every_escape_of_a_name_is_found(escape: list[bool], again: int, before: str) -> None:
    """A name is found with any letters escaped, once or more, after any parameter."""
    name = "".join(
        f"%{ord(letter):02x}" if escaped else letter
        for letter, escaped in zip("key", escape, strict=True)
    )
    for _ in range(again):
        name = name.replace("%", "%25")
    found = find(f"/x?{quote(before)}=1&{name}=K", NAMES)
    assert found.hidden or found.plain == ("key",)


@given(st.text(max_size=60))
def test_any_query_is_read(query: str) -> None:
    """Any query is read without an error."""
    assert isinstance(find(f"/x?{query}", NAMES).hidden, bool)
