"""The ``identity`` URL: its scheme picks the source (``interface.md`` section 3)."""

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
    """The embedded store.

    Attributes:
        path: of the file; relative to the working directory unless the URL has four slashes.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresURL:
    """A PostgreSQL database, Coder's or our own.

    Attributes:
        dsn: the URL as it was given, for the driver; it may hold a password.
        display: hosts and database only, for people and logs.
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
    """Read an identity URL.

    Args:
        text: ``sqlite:///relative/path``, ``sqlite:////absolute/path`` (percent-encoding is
            decoded), ``postgresql://…`` (or ``postgres://…``), ``https://…`` or ``http://…``.

    Returns:
        The value of its scheme.

    Raises:
        ValueError: what is wrong and what to write. The text quotes nothing of the URL, because
            the part that is wrong may be the password.
    """
    match = _SCHEME.match(text)
    if match is None:
        raise ValueError(f"the URL's scheme is not sqlite, postgresql, https or http: {_EXAMPLES}")
    if _CONTROL.search(text):
        raise ValueError("the URL holds a control character")
    scheme = match[1].lower()
    if scheme == "sqlite":
        return _sqlite(text[match.end() :])
    if any(character.isspace() for character in text):
        raise ValueError("the URL holds a space: write %20 for one that is meant")
    try:
        parts = urlsplit(text)
    except ValueError:
        # urllib's own message quotes the authority, password included.
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
        raise ValueError("a sqlite URL names a file: write sqlite:///./.authz/identity.db")
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
