"""Opens what the ``identity`` URL names."""

from authz.errors import ConfigError
from authz.identity import IdentitySource
from authz.identity.sqlite import SQLiteDatabase, SQLiteSource
from authz.identity.sqlite_file import make
from authz.identity.store import Store
from authz.identity.url import PostgresURL, SQLiteURL, parse_identity_url


async def open_source(url: str) -> IdentitySource:
    """Return the source that a request's token is looked up in.

    It need not answer yet: ``check_ready`` says whether it does. Open it in the process that
    uses it, after a fork.

    Args:
        url: the configuration's ``identity``.

    Raises:
        ConfigError: the URL is malformed, or its scheme is not supported.
    """
    return SQLiteSource(_sqlite_url(url).path)


async def open_store(url: str, *, create: bool) -> Store:
    """Return the store of users and tokens.

    Args:
        url: the configuration's ``identity``.
        create: make it if it is not there.

    Raises:
        ConfigError: as ``open_source``.
        StoreError: it is not there and ``create`` is false, or it can't be made or used.
    """
    path = _sqlite_url(url).path
    if create:
        make(path)
    database = SQLiteDatabase(path)
    try:
        await database.check()
    except BaseException:
        await database.close()
        raise
    return Store(database)


def _sqlite_url(text: str) -> SQLiteURL:
    try:
        url = parse_identity_url(text)
    except ValueError as error:
        raise ConfigError([f"identity: {error}"]) from None
    if isinstance(url, SQLiteURL):
        return url
    kind = "postgresql" if isinstance(url, PostgresURL) else "https"
    raise ConfigError([f"identity: {kind}:// is not supported yet: use sqlite:///path"])
