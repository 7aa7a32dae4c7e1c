"""authz.database.sqlite_tables, with the identity tables."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from authz.database.sqlite_tables import check_version, create_tables
from authz.errors import StoreError
from authz.identity.schema import IDENTITY

_NOW = "2026-01-01T00:00:00.000000+00:00"
_USER = "INSERT INTO users (id, username, created_at, updated_at) VALUES (:id, :name, :now, :now)"
_KEY = (
    "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"
    " login_type, token_name) VALUES (:id, :hash, 'u1', :expires, :now, :now, :type, :name)"
)


def _add_user(connection: sqlite3.Connection, user_id: str, name: str) -> None:
    connection.execute(_USER, {"id": user_id, "name": name, "now": _NOW})


def _add_key(connection: sqlite3.Connection, *values: object) -> None:
    names = ("id", "hash", "expires", "type", "name")
    connection.execute(_KEY, {**dict(zip(names, values, strict=True)), "now": _NOW})


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An in-memory database with our tables and one user."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        create_tables(opened, IDENTITY, "here")
        opened.execute("PRAGMA foreign_keys = ON")
        _add_user(opened, "u1", "alice")
        yield opened


def test_made_tables_have_the_known_version(connection: sqlite3.Connection) -> None:
    """A database is accepted by the program that made it, and making it twice changes nothing."""
    create_tables(connection, IDENTITY, "here")
    check_version(connection, IDENTITY, "here")
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_a_newer_version_is_refused(connection: sqlite3.Connection) -> None:
    """Tables of a later version are refused with the advice to upgrade."""
    connection.execute(f"PRAGMA user_version = {IDENTITY.version + 1}")
    for use in (check_version, create_tables):
        with pytest.raises(StoreError, match=r"here was made by a newer authz .* upgrade"):
            use(connection, IDENTITY, "here")


def test_a_version_from_before_the_first_release_is_refused(
    connection: sqlite3.Connection,
) -> None:
    """Tables that no release made are refused, and nothing is changed in them."""
    connection.execute("PRAGMA user_version = 1")
    for use in (check_version, create_tables):
        with pytest.raises(StoreError, match="version 1, which no released authz made"):
            use(connection, IDENTITY, "here")
    assert not connection.in_transaction


def test_another_programs_tables_are_refused() -> None:
    """Neither another program's SQLite file nor an empty one is accepted as authz's."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        with pytest.raises(StoreError, match="no tables yet"):
            check_version(connection, IDENTITY, "here")
        connection.execute("CREATE TABLE bookmarks (url)")
        with pytest.raises(StoreError, match="another program's"):
            check_version(connection, IDENTITY, "here")
        create_tables(connection, IDENTITY, "here")
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]


def test_new_users_are_dormant(connection: sqlite3.Connection) -> None:
    """The schema's defaults are Coder's."""
    row = connection.execute("SELECT status, deleted, is_system, email FROM users").fetchone()
    assert row == ("dormant", 0, 0, "")


def test_a_user_name_is_unique_until_its_user_is_deleted(connection: sqlite3.Connection) -> None:
    """Names differ by more than case among users who are not deleted."""
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        _add_user(connection, "u2", "ALICE")
    connection.execute("UPDATE users SET deleted = true")
    _add_user(connection, "u2", "ALICE")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("short", b"x" * 32, _NOW, "token", "n"), "CHECK"),
        (("k" * 10, "x" * 32, _NOW, "token", "n"), "CHECK"),
        (("k" * 10, b"x" * 31, _NOW, "token", "n"), "CHECK"),
        (("k" * 10, b"x" * 32, "2026-01-01 00:00:00", "token", "n"), "CHECK"),
        (("k" * 10, b"x" * 32, _NOW, "magic", "n"), "CHECK"),
        (("k" * 10, b"x" * 32, None, "token", "n"), "NOT NULL"),
        (("0" * 10, b"x" * 32, _NOW, "token", "n"), "UNIQUE"),
        (("k" * 10, b"x" * 32, _NOW, "token", "laptop"), "UNIQUE"),
    ],
)
def test_a_bad_key_is_refused(
    connection: sqlite3.Connection, key: tuple[object, ...], text: str
) -> None:
    """The tables refuse a key that the check could misread, and a duplicate token name."""
    _add_key(connection, "0" * 10, b"y" * 32, _NOW, "token", "laptop")
    with pytest.raises(sqlite3.IntegrityError, match=text):
        _add_key(connection, *key)


def test_sessions_share_the_empty_name(connection: sqlite3.Connection) -> None:
    """Only tokens have unique names; a user may have many sessions."""
    for number in range(3):
        _add_key(connection, f"{number:010}", b"y" * 32, _NOW, "password", "")
