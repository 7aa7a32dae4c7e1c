"""Users and tokens written directly into a database, as Coder would write them."""

import uuid
from datetime import UTC, datetime, timedelta

from authz.core.tokens import CoderToken, generate
from authz.database.url import PostgresURL, parse_identity_url
from tests.support.postgres import PostgresServer

GRANTS = """\
GRANT SELECT (id, hashed_secret, user_id, expires_at, token_name) ON api_keys TO {role};
GRANT SELECT (id, username, email, status, deleted, is_system) ON users TO {role};
"""
"""The grants that ``docs/identity-postgresql.md`` tells an administrator to make."""
GRANT_RULES = """\
GRANT SELECT (authz_rules) ON api_keys TO {role};
GRANT SELECT (authz_groups) ON users TO {role};
"""
"""Further grants, for authz's own tables only."""


def parsed(url: str) -> PostgresURL:
    """Return the URL as the source parses it."""
    result = parse_identity_url(url)
    assert isinstance(result, PostgresURL)
    return result


class Tables:
    """The tables of one database.

    Args:
        server: where it is.
        name: of the database.
        ours: whether the tables are ours, or Coder's.
    """

    def __init__(self, server: PostgresServer, name: str, *, ours: bool = False) -> None:
        self.server = server
        self.name = name
        self.ours = ours

    @classmethod
    def of_coder(cls, server: PostgresServer, variant: str = "newer") -> "Tables":
        """Return empty tables of Coder's, which tests share one after the other."""
        name = server.empty_database(variant, lambda: server.coder_database(variant))
        return cls(server, name)

    def url(
        self, user: str = "postgres", password: str = "", port: int = 0, **options: str
    ) -> PostgresURL:
        """Return the database's URL; the arguments are those of ``PostgresServer.url``."""
        url = self.server.url(self.name, user=user, password=password, port=port, **options)
        return parsed(url)

    def sql(self, *statements: str) -> str:
        """Run SQL in another process and return the last value printed."""
        return self.server.sql(self.name, *statements)

    def add_user(self, name: str, status: str = "active") -> str:
        """Make a user and return the id."""
        user = str(uuid.uuid4())
        more = ("", "") if self.ours else (", hashed_password", r", '\x'")
        self.sql(
            f"INSERT INTO users (id, username, email, status, created_at, updated_at{more[0]})"  # noqa: S608
            f" VALUES ('{user}', '{name}', '{name}@example.com', '{status}', now(), now(){more[1]})"
        )
        return user

    def add_token(
        self, user: str, name: str = "", expires_at: datetime | None = None
    ) -> CoderToken:
        """Make a token, valid for a day unless told."""
        _, token = generate()
        expires_at = expires_at or datetime.now(UTC) + timedelta(days=1)
        more = ("", "") if self.ours else (", last_used", ", now()")
        self.sql(
            "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, token_name, login_type,"  # noqa: S608
            f" created_at, updated_at{more[0]}) VALUES ('{token.id}', '\\x{token.digest.hex()}',"
            f" '{user}', '{expires_at.isoformat()}', '{name}', 'token', now(), now(){more[1]})"
        )
        return token

    def delete(self, token: CoderToken) -> None:
        """Delete a token's row."""
        self.sql(f"DELETE FROM api_keys WHERE id = '{token.id}'")  # noqa: S608

    def add_reader(self, role: str, grants: str = GRANTS) -> None:
        """Create a role that may read what the documentation says, and nothing else."""
        grants += GRANT_RULES if self.ours else ""
        self.sql(f"CREATE ROLE {role} LOGIN", grants.format(role=role))
