"""Rights, passwords, TLS and places of a PostgreSQL source."""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from authz.core.identity import Identity
from authz.database.url import PostgresURL
from authz.errors import IdentityUnavailable
from authz.identity.postgres_source import PostgresSource
from tests.support.certificates import Authority
from tests.support.postgres import PostgresServer
from tests.support.postgres_proxy import proxy
from tests.support.postgres_tables import GRANT_RULES, GRANTS, Tables, parsed

_DOCUMENT = Path(__file__).parents[3] / "docs" / "identity-postgresql.md"


@asynccontextmanager
async def _source(url: PostgresURL) -> AsyncIterator[PostgresSource]:
    source = PostgresSource(url)
    try:
        yield source
    finally:
        await source.close()


async def _reason(url: PostgresURL) -> str:
    """Return why a source can't answer."""
    async with _source(url) as source:
        with pytest.raises(IdentityUnavailable) as caught:
            await source.check_ready()
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.mark.usefixtures("patient")
async def test_the_documented_grants_are_enough(tables: Tables) -> None:
    """A role with exactly the documented rights can verify."""
    for line in (GRANTS + GRANT_RULES).format(role="authz").splitlines():
        assert line in _DOCUMENT.read_text()
    role = f"reader_{secrets.token_hex(4)}"
    tables.add_reader(role)
    token = tables.add_token(tables.add_user("alice"))
    async with _source(tables.url(user=role)) as source:
        await source.check_ready()
        assert isinstance(await source.verify(token), Identity)


@pytest.mark.usefixtures("patient")
async def test_the_documented_grants_are_needed(newer: Tables) -> None:
    """Without any one of the columns nothing is verified, and nothing else can be read."""
    role = f"reader_{secrets.token_hex(4)}"
    newer.add_reader(role)
    for refused in (
        "SELECT hashed_password FROM users",
        "SELECT * FROM api_keys",
        "UPDATE users SET status = 'active'",
        "DELETE FROM api_keys",
    ):
        with pytest.raises(RuntimeError, match="permission denied"):
            newer.sql(f"SET ROLE {role}", refused)
    for line in GRANTS.splitlines():
        columns = line[line.index("(") + 1 : line.index(")")].split(", ")
        table = line.split(" ON ")[1].split()[0]
        for column in columns:
            newer.sql(f"REVOKE SELECT ({column}) ON {table} FROM {role}")  # noqa: S608
            reason = await _reason(newer.url(user=role))
            assert f"permission denied for table {table}: the role lacks a GRANT" in reason
            newer.sql(f"GRANT SELECT ({column}) ON {table} TO {role}")


@pytest.mark.usefixtures("patient")
async def test_passwords(newer: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password can come from the URL, PGPASSWORD or PGPASSFILE, and appears in no error."""
    secret, role, port = "hunter2/@ é", "with_password", newer.server.port
    newer.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'", GRANTS.format(role=role))
    plain, full = newer.url(role, port=port), newer.url(role, secret, port=port)
    assert "hunter2" not in repr(full)
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"127.0.0.1:*:*:{role}:{secret}\n")
    passfile.chmod(0o600)
    for variable in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.delenv(variable, raising=False)
    try:
        assert "check user and password" in await _reason(plain)
        for url, variable, value in (
            (full, "PGPASSWORD", "the URL wins"),
            (plain, "PGPASSWORD", secret),
            (plain, "PGPASSFILE", str(passfile)),
        ):
            monkeypatch.setenv(variable, value)
            async with _source(url) as source:
                await source.check_ready()
            monkeypatch.delenv(variable)
        reason = await _reason(newer.url(role, f"{secret}!", port=port))
        assert "password authentication failed" in reason
        assert "hunter2" not in reason
    finally:
        newer.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/db", "can't connect to postgresql://127.0.0.1:1/db: "),
        ("postgresql://u:hunter2@nowhere.invalid/db", "can't connect to postgresql://nowhere"),
        ("postgresql://u:hunter2@127.0.0.1/db?hunter2", "an option of the URL is malformed"),
        ("postgresql://u:hunter2@127.0.0.1/db?sslmode=odd", "`sslmode` parameter must be one of"),
        (
            "postgresql://u:hunter2@127.0.0.1/db?sslmode=verify-full&sslrootcert=/nowhere",
            r"No such file or directory",
        ),
        ("postgresql:///db?host=/nowhere&password=hunter2", "No such file or directory"),
    ],
)
async def test_a_url_that_leads_nowhere(url: str, text: str) -> None:
    """The error says what is wrong with the URL and never shows the password."""
    reason = await _reason(parsed(url))
    assert text in reason
    assert "hunter2" not in reason


@pytest.mark.usefixtures("patient")
async def test_unknown_databases_and_users(postgres: PostgresServer) -> None:
    """The error quotes the server, which names the database or role that it does not know."""
    assert 'database "nothing" does not exist' in await _reason(parsed(postgres.url("nothing")))
    reason = await _reason(parsed(postgres.url("postgres", user="nobody_here")))
    assert 'role "nobody_here" does not exist: check user and password' in reason


@pytest.mark.usefixtures("patient")
async def test_tls(newer: Tables, tmp_path: Path) -> None:
    """The certificate is checked against the CA that the URL names, and plain text is refused."""
    authority, other = Authority(tmp_path, "database"), Authority(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    token = newer.add_token(newer.add_user("alice"))
    plain = newer.server.port
    async with proxy(plain, context) as front:

        def url(port: int, ca_file: Path) -> PostgresURL:
            return newer.url(port=port, sslmode="verify-full", sslrootcert=str(ca_file))

        async with _source(url(front.port, authority.ca_file)) as source:
            assert isinstance(await source.verify(token), Identity)
        reason = await _reason(url(front.port, other.ca_file))
        assert "is not trusted" in reason
        assert "sslrootcert" in reason
        assert "rejected SSL upgrade" in await _reason(url(plain, authority.ca_file))


@pytest.mark.usefixtures("patient")
async def test_a_replica_is_refused(newer: Tables) -> None:
    """A server that became a replica is not asked, unless the URL accepts it."""
    token = newer.add_token(newer.add_user("alice"))
    async with (
        _source(newer.url()) as source,
        _source(newer.url(target_session_attrs="any")) as careless,
    ):
        assert isinstance(await source.verify(token), Identity)
        newer.server.stop()
        newer.server.start(standby=True)
        try:
            with pytest.raises(
                IdentityUnavailable, match=r"is a replica.*target_session_attrs=any"
            ):
                await source.verify(token)
            assert isinstance(await careless.verify(token), Identity)
        finally:
            assert newer.server.sql("postgres", "SELECT pg_promote()") == "t"
        assert isinstance(await source.verify(token), Identity)


@pytest.mark.usefixtures("patient")
async def test_too_many_clients(newer: Tables) -> None:
    """The error says that the server has no connection left, and a later request succeeds."""
    role = f"limited_{newer.name}"
    newer.add_reader(role)
    newer.sql(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    token = newer.add_token(newer.add_user("alice"))
    async with _source(newer.url(role)) as second:
        async with _source(newer.url(role)) as first:
            await first.check_ready()
            with pytest.raises(IdentityUnavailable, match="too many connections for role"):
                await second.verify(token)
        # The server notices that the first one has gone a moment later.
        for _ in range(600):
            with contextlib.suppress(IdentityUnavailable):
                await second.verify(token)
                break
            await asyncio.sleep(0.1)
        assert isinstance(await second.verify(token), Identity)
