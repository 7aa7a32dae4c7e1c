"""Error texts for failures of PostgreSQL, its driver and the network."""

import ssl

import asyncpg

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError and ssl.SSLError are among them
    ValueError,
)
"""The exceptions of a failed connection attempt or statement."""

_PAGE = "docs/identity-postgresql.md"


def explain(error: Exception, where: str) -> str:
    """Return a line that names the problem and the cure.

    The line contains the server's message, but not its detail, which quotes rows. It does not quote
    a malformed option, which may be a part of the password.

    Args:
        error: one of ``FAILURES``.
        where: the name of the database, without a password.
    """
    return " ".join(_explained(error, where).split())


def _explained(error: Exception, where: str) -> str:
    match error:
        case asyncpg.PostgresError():
            return _reported(error, where)
        case TimeoutError():
            return f"{where} does not answer in time"
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of {where} is not trusted ({error.verify_message}): "
                "name its CA with sslrootcert"
            )
        case OSError():
            reason = error.strerror or str(error) or type(error).__name__
            file = f" ({error.filename})" if error.filename else ""
            return f"can't connect to {where}: {reason}{file}"
        case asyncpg.TargetServerAttributeNotMatched():
            return (
                f"{where} is a replica, which accepts a deleted token for a while: use the primary "
                "(or accept replicas with target_session_attrs=any in the URL)"
            )
        case asyncpg.ClientConfigurationError():
            return f"can't connect to {where}: {error.args[0]}"
        case ValueError():
            return f"can't connect to {where}: an option of the URL is malformed"
        case _:
            return f"the connection to {where} failed: {type(error).__name__}"


def _reported(error: asyncpg.PostgresError, where: str) -> str:
    text = f"{where}: {error.args[0]}"
    match error:
        case asyncpg.InsufficientPrivilegeError():
            return f"{text}: the role lacks a GRANT, see {_PAGE}"
        case asyncpg.UndefinedTableError() if "own_keys" in str(error.args[0]):
            return f"{text}: create the table of stored keys with 'authz db init'"
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return f"{text}: use Coder's database, or create the tables with 'authz db init'"
        case asyncpg.InvalidAuthorizationSpecificationError():
            return f"{text}: check user and password (PGPASSWORD or PGPASSFILE)"
        case asyncpg.TooManyConnectionsError():
            # Such as "too many connections for role", or "sorry, too many clients already".
            return (
                f"{text}: raise the role's CONNECTION LIMIT or the server's max_connections; "
                "'authz config check' says how many an authz process needs"
            )
        case asyncpg.QueryCanceledError():
            return f"{where} took too long: is a table locked?"
        case _:
            return text
