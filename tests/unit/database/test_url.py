"""authz.database.url."""

from contextlib import suppress
from pathlib import Path
from traceback import format_exception

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.database.url import CoderURL, PostgresURL, SQLiteURL, parse_identity_url


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///./.authz/identity.db", ".authz/identity.db"),
        ("sqlite:///identity.db", "identity.db"),
        ("sqlite:////var/lib/authz/identity.db", "/var/lib/authz/identity.db"),
        ("SQLite:///a%20b%3F.db", "a b?.db"),
    ],
)
def test_sqlite_paths(text: str, path: str) -> None:
    """Three slashes begin a relative path, four an absolute one; percent-encoding is decoded."""
    assert parse_identity_url(text) == SQLiteURL(Path(path))


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("postgresql://u:p%40ss@db:5432/coder?sslmode=verify-full", "postgresql://db:5432/coder"),
        ("postgres://a:1,b:2/coder", "postgresql://a:1,b:2/coder"),
        ("postgresql:///coder?host=/run/postgresql", "postgresql:///coder"),
    ],
)
def test_postgres_urls(text: str, display: str) -> None:
    """A PostgreSQL URL is kept whole for the driver and shown without user and password."""
    url = parse_identity_url(text)
    assert isinstance(url, PostgresURL)
    assert (url.dsn.reveal(), url.display) == (text, display)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://coder.example.com", "https://coder.example.com"),
        ("HTTPS://coder.example.com:8443/sub/", "https://coder.example.com:8443/sub"),
        ("http://[::1]:3000/", "http://[::1]:3000"),
    ],
)
def test_coder_urls(text: str, base: str) -> None:
    """A Coder URL loses the slash at its end."""
    assert parse_identity_url(text) == CoderURL(base)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "identity.db",
        "sqlite:identity.db",
        "sqlite://identity.db",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite:///a%00.db",
        "mysql://host/db",
        "https://",
        "https://:443",
        "https://host:port",
        "https://host:99999",
        "https://user@host",
        "https://host?x=1",
        "https://ho st",
        "https://[::1",
        "postgresql://host:port/db",
        "postgresql://host/db#fragment",
    ],
)
def test_malformed_urls(text: str) -> None:
    """A text that is not an identity URL is refused with advice."""
    with pytest.raises(ValueError, match=r"write|scheme|several processes|malformed|control"):
        parse_identity_url(text)


_SCHEMES = st.sampled_from(["postgresql", "postgres", "https", "http", "sqlite", "mysql", "x"])


@given(
    scheme=_SCHEMES,
    password=st.text(alphabet="aZ9/?#@:[]%\u2100 \n", max_size=12),
    tail=st.text(alphabet="ab/:?#@[]%,5", max_size=12),
)
@example("postgresql", "5/", "@host/db")
@example("https", "\u2100", "@host")
def test_a_password_never_shows(scheme: str, password: str, tail: str) -> None:
    """Neither an error nor a shown value of any URL holds a part of its password."""
    canary = "hunter2"
    text = f"{scheme}://user:{password}{canary}@{tail}"
    try:
        url = parse_identity_url(text)
    except ValueError as error:
        shown = "".join(format_exception(error, limit=0))
    else:
        shown = url.display + repr(url) if isinstance(url, PostgresURL) else ""
    assert canary not in shown


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """The parser raises nothing but ValueError."""
    with suppress(ValueError):
        parse_identity_url(text)
