"""The tables of budgets, in the database of the identity store.

They have a version of their own, so that a gateway without budgets has no such tables. Times are
milliseconds of Unix time, amounts are nano-dollars.
"""

from authz.database.interface import Database, Dialect
from authz.database.migration import Schema, Statements
from authz.database.own_version import (
    create_version,
    grant_as_on_users,
    prepare_tables,
    store_version,
)
from authz.identity.owners import ONE_OWNER, column_definitions

_VERSION_TABLE = "budgets_schema"


def _tables(uuid: str, exact: str) -> Statements:
    return (
        f"""CREATE TABLE budgets (
    id {uuid} NOT NULL PRIMARY KEY,
    {column_definitions(uuid, exact)},
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    zone text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    hard boolean NOT NULL,
    {ONE_OWNER}
)""",
        "CREATE UNIQUE INDEX budgets_user ON budgets (user_id, period, hard)",
        "CREATE UNIQUE INDEX budgets_group ON budgets (group_id, period, hard)",
        "CREATE UNIQUE INDEX budgets_api_key ON budgets (api_key_id, period, hard)",
        f"""CREATE TABLE budget_spending (
    budget_id {uuid} NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_ms bigint NOT NULL,
    spent bigint NOT NULL CHECK (spent >= 0),
    PRIMARY KEY (budget_id, period_ms)
)""",
        # A row without a charge is a reservation until its end. Later the row remains for a while,
        # so that a late record is counted, and a second one is not.
        f"""CREATE TABLE budget_reservations (
    request_id text {exact} NOT NULL,
    budget_id {uuid} NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    period_ms bigint NOT NULL,
    user_id text {exact} NOT NULL,
    provider text {exact} NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    expires_ms bigint NOT NULL,
    charged bigint CHECK (charged >= 0),
    PRIMARY KEY (request_id, budget_id)
)""",
        """CREATE INDEX budget_reservations_open ON budget_reservations
    (budget_id, period_ms, expires_ms, amount) WHERE charged IS NULL""",
        "CREATE INDEX budget_reservations_expires ON budget_reservations (expires_ms)",
        f"""CREATE TABLE budget_usual_costs (
    user_id text {exact} NOT NULL,
    provider text {exact} NOT NULL,
    cost bigint NOT NULL CHECK (cost >= 0),
    PRIMARY KEY (user_id, provider)
)""",
    )


_ANNOUNCED = (
    "ALTER TABLE budget_spending ADD COLUMN announced integer NOT NULL DEFAULT 0"
    " CHECK (announced BETWEEN 0 AND 100)",
)

_VERSIONS = create_version(_VERSION_TABLE)
_GRANTS = grant_as_on_users(
    *("budgets", "budget_spending", "budget_reservations", "budget_usual_costs"), _VERSION_TABLE
)


BUDGETS = Schema(
    name="budgets",
    steps={
        1: {
            Dialect.SQLITE: (_VERSIONS, *_tables("text", "")),
            Dialect.POSTGRESQL: (_VERSIONS, *_tables("uuid", 'COLLATE "C"'), _GRANTS),
        },
        2: {Dialect.SQLITE: _ANNOUNCED, Dialect.POSTGRESQL: _ANNOUNCED},
    },
    store_version=lambda _, version: store_version(_VERSION_TABLE, version),
)


async def prepare(database: Database) -> bool:
    """Create the tables, or bring them up to date; see ``prepare_tables``."""
    return await prepare_tables(database, BUDGETS, _VERSION_TABLE)
