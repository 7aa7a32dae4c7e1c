"""Opens what the ``identity`` URL names."""

from pathlib import Path

from authz.errors import ConfigError
from authz.identity import IdentitySource
from authz.identity.sqlite import SQLiteDatabase, SQLiteSource
from authz.identity.sqlite_file import make
from authz.identity.store import Store
from authz.identity.url import CoderURL, IdentityURL, PostgresURL, SQLiteURL, parse_identity_url


async def open_source(url: str, *, ca_file: Path | None = None) -> IdentitySource:
    """Return the source that a request's token is looked up in.

    It need not answer yet: ``check_ready`` says whether it does. Open it in the process that
    uses it, after a fork.

    Args:
        url: the configuration's ``identity``.
        ca_file: the configuration's ``identity_ca_file``.

    Raises:
        ConfigError: the URL is malformed, its scheme is not supported, or ``ca_file`` can't be
            used.
    """
    parsed = _parsed(url)
    if isinstance(parsed, CoderURL):
        # Here, because aiohttp takes a fifth of a second to import and most commands need no HTTP.
        from authz.identity.coder_api import CoderSource

        return CoderSource(parsed.base, ca_file=ca_file)
    return SQLiteSource(_sqlite_url(parsed).path)


async def open_store(url: str, *, create: bool) -> Store:
    """Return the store of users and tokens.

    Args:
        url: the configuration's ``identity``.
        create: make it if it is not there.

    Raises:
        ConfigError: the URL is malformed, or names no store of ours.
        StoreError: it is not there and ``create`` is false, or it can't be made or used.
    """
    path = _sqlite_url(_parsed(url)).path
    if create:
        make(path)
    database = SQLiteDatabase(path)
    try:
        await database.check()
    except BaseException:
        await database.close()
        raise
    return Store(database)


def _parsed(text: str) -> IdentityURL:
    try:
        return parse_identity_url(text)
    except ValueError as error:
        raise ConfigError([f"identity: {error}"]) from None


def _sqlite_url(url: IdentityURL) -> SQLiteURL:
    match url:
        case SQLiteURL():
            return url
        case CoderURL():
            raise ConfigError(["identity: tokens are managed by Coder: coder tokens create"])
        case PostgresURL():
            raise ConfigError(["identity: postgresql:// is not supported yet: use sqlite:///path"])
