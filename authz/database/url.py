"""Parsing of the ``identity`` URL, whose scheme selects the source."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from authz.secret import Secret

_SCHEME = re.compile(r"(sqlite|postgresql|postgres|https|http)://", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@/?#\[\]]*)(?::(\d{1,5}))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EXAMPLES = (
    "write sqlite:///./.authz/identity.db, postgresql://host/database or https://coder.example.com"
)


@dataclass(frozen=True, slots=True)
class SQLiteURL:
    """A SQLite file.

    Attributes:
        path: of the file. It is relative to the working directory unless the URL has four slashes.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresURL:
    """A PostgreSQL database, Coder's or authz's own.

    Attributes:
        dsn: the unchanged URL for the driver, which may contain a password.
        display: hosts and database only, for error texts and logs.
    """

    dsn: Secret
    display: str


@dataclass(frozen=True, slots=True)
class CoderURL:
    """A Coder deployment.

    Attributes:
        base: scheme, host, port and path, without a slash at the end.
    """

    base: str


IdentityURL = SQLiteURL | PostgresURL | CoderURL


def parse_identity_url(text: str) -> IdentityURL:
    """Parse an identity URL.

    Args:
        text: ``sqlite:///relative/path``, ``sqlite:////absolute/path`` (percent-encoding is
            decoded), ``postgresql://…`` (or ``postgres://…``), ``https://…`` or ``http://…``.

    Returns:
        A value whose type depends on the scheme.

    Raises:
        ValueError: the URL is malformed. The message says what to write and quotes nothing of
            the URL, because the wrong part may be the password.
    """
    match = _SCHEME.match(text)
    if match is None:
        raise ValueError(f"the URL's scheme is not sqlite, postgresql, https or http: {_EXAMPLES}")
    if _CONTROL.search(text):
        raise ValueError("the URL contains a control character")
    scheme = match[1].lower()
    if scheme == "sqlite":
        return _sqlite(text[match.end() :])
    if any(character.isspace() for character in text):
        raise ValueError("the URL contains a space: write %20 instead")
    try:
        parts = urlsplit(text)
    except ValueError:
        # urllib's message quotes the authority, including the password.
        raise ValueError("the URL's host is malformed") from None
    return _coder(parts) if scheme.startswith("http") else _postgres(text, parts)


def _sqlite(rest: str) -> SQLiteURL:
    if "?" in rest or "#" in rest:
        raise ValueError("a sqlite URL takes no options: write %3F and %23 for ? and # in the path")
    if not rest.startswith("/"):
        raise ValueError(
            "a sqlite URL has no host: write sqlite:///relative/path or sqlite:////absolute/path"
        )
    path = unquote(rest[1:])
    if not path.strip("/.") or path.endswith("/") or _CONTROL.search(path):
        raise ValueError("a sqlite URL must name a file: write sqlite:///./.authz/identity.db")
    if path == ":memory:":
        raise ValueError("the store has to be a file, because several processes share it")
    return SQLiteURL(Path(path))


def _postgres(text: str, parts: SplitResult) -> PostgresURL:
    # An unescaped / ? # or @ in a password moves the rest of it into the host, path or query.
    if "@" in parts.path + parts.query or parts.netloc.count("@") > 1 or parts.fragment:
        raise ValueError("percent-encode / ? # @ in the user and password: write %2F %3F %23 %40")
    hosts = parts.netloc.rpartition("@")[2]
    if not all(_is_host(host) for host in hosts.split(",")):
        raise ValueError(
            "the URL's host or port is malformed: write postgresql://host:5432/database"
        )
    return PostgresURL(Secret(text), f"postgresql://{hosts}{parts.path}")


def _coder(parts: SplitResult) -> CoderURL:
    if "@" in parts.netloc + parts.path or parts.query or parts.fragment:
        raise ValueError(
            "a Coder URL takes no user, password, ? or #: write https://coder.example.com"
        )
    if not _is_host(parts.netloc) or parts.netloc.startswith(":") or not parts.netloc:
        raise ValueError("the URL's host or port is malformed: write https://coder.example.com")
    return CoderURL(f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/"))


def _is_host(text: str) -> bool:
    match = _HOST.fullmatch(text)
    return match is not None and (match[2] is None or 0 < int(match[2]) < 65536)
