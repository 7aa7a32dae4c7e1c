"""The tables of sums over requests, which triggers keep together with the rows.

A series is a combination of user, token, provider, mode, model, groups and project. Each series has
a sum for each hour and each UTC day in which it has requests. ``usage_quarters`` has the sums of
all requests for each quarter of an hour, because days begin at quarters in some time zones.

The sums cover the requests from ``usage_sums.since_ms`` on. Rows from before the sums existed are
added later, in small steps (``backfill``), so that nothing waits for millions of rows.
"""

from collections.abc import Iterator, Mapping

from authz.database.interface import Dialect
from authz.database.migration import Statements

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
QUARTER_MS = 900_000

SERIES = (
    "user_id",
    "username",
    "token_id",
    "token_name",
    "provider",
    "mode",
    "model",
    "groups",
    "project",
)
"""The columns of a request that make its series."""
UNPRICED = (
    "r.cost IS NULL AND r.usage IN ('complete', 'partial')"
    " AND coalesce(r.input_tokens, r.output_tokens) IS NOT NULL"
)
"""A condition: the tokens of the request ``r`` are known, and its cost is not."""
MEASURES: Mapping[str, str] = {
    "requests": "1",
    "refusals": "CASE WHEN r.usage = 'refused' THEN 1 ELSE 0 END",
    "unknown": "CASE WHEN r.usage IN ('failed', 'compressed', 'cancelled', 'unreported')"
    " THEN 1 ELSE 0 END",
    "input_tokens": "coalesce(r.input_tokens, 0)",
    "cached_tokens": "coalesce(r.cached_tokens, 0)",
    "cache_write_tokens": "coalesce(r.cache_write_tokens, 0)",
    "output_tokens": "coalesce(r.output_tokens, 0)",
    "reasoning_tokens": "coalesce(r.reasoning_tokens, 0)",
    "cost": "CASE WHEN r.mode = 'byok' THEN 0 ELSE coalesce(r.cost, 0) END",
    "own_cost": "CASE WHEN r.mode = 'byok' THEN coalesce(r.cost, 0) ELSE 0 END",
    "unpriced": f"CASE WHEN {UNPRICED} THEN 1 ELSE 0 END",
}
"""The summed columns, with their value for the row ``r`` of a request."""
TABLES = ("usage_hours", "usage_days", "usage_quarters", "usage_series", "usage_sums")

_TOKENS = tuple(name for name in MEASURES if name.endswith("_tokens"))
_USED = ("time_ms", "usage", "cost", *SERIES, *_TOKENS)
COVERED = "r.time_ms >= (SELECT since_ms FROM usage_sums)"
"""A condition: the sums cover the time of the request ``r``."""
_MEASURES = ", ".join(MEASURES)
_KEYS = ", ".join(f"r.{column}" for column in SERIES)
# The text identifies a series exactly; PostgreSQL can't index one of any length.
_DIGEST = {
    Dialect.SQLITE: f"json_array({_KEYS})",
    Dialect.POSTGRESQL: f"encode(sha256(convert_to(json_build_array({_KEYS})::text, 'UTF8')),"
    " 'hex')",
}
_ID = {
    Dialect.SQLITE: "integer PRIMARY KEY",
    Dialect.POSTGRESQL: "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}
_LATER = {Dialect.SQLITE: "max", Dialect.POSTGRESQL: "greatest"}


def add(dialect: Dialect, source: str, where: str, *, sign: int = 1) -> Iterator[str]:
    """Yield the statements that add requests to the sums, or subtract them.

    Args:
        dialect: of the database.
        source: a table of requests.
        where: a condition on the request ``r``.
        sign: 1 or -1.
    """
    digest = _DIGEST[dialect]
    groups = ", ".join(str(number) for number in range(1, len(SERIES) + 2))
    yield (
        f"INSERT INTO usage_series (digest, {', '.join(SERIES)}, last_ms)"  # noqa: S608 - constants
        f" SELECT {digest}, {_KEYS}, max(r.time_ms) FROM {source} r WHERE {where}"
        f" GROUP BY {groups} ORDER BY 1 ON CONFLICT (digest) DO UPDATE"
        f" SET last_ms = {_LATER[dialect]}(usage_series.last_ms, excluded.last_ms)"
    )
    sums = ", ".join(f"sum({sign:d} * {value})" for value in MEASURES.values())
    for table, period, length in (("hours", "hour", HOUR_MS), ("days", "day", DAY_MS)):
        yield (
            f"INSERT INTO usage_{table} ({period}, series, {_MEASURES})"  # noqa: S608 - constants
            f" SELECT r.time_ms / {length}, s.id, {sums} FROM {source} r"
            f" JOIN usage_series s ON s.digest = {digest} WHERE {where}"
            f" GROUP BY 1, 2 ORDER BY 1, 2 ON CONFLICT ({period}, series) DO UPDATE"
            f" SET {_added(f'usage_{table}')}"
        )
    yield (
        f"INSERT INTO usage_quarters (quarter, {_MEASURES})"  # noqa: S608 - constants
        f" SELECT r.time_ms / {QUARTER_MS}, {sums} FROM {source} r WHERE {where}"
        f" GROUP BY 1 ORDER BY 1 ON CONFLICT (quarter) DO UPDATE SET {_added('usage_quarters')}"
    )


def _added(table: str) -> str:
    return ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in MEASURES)


def _tables(dialect: Dialect) -> Iterator[str]:
    numbers = ", ".join(f"{name} bigint NOT NULL" for name in MEASURES)
    keys = ", ".join(f"{column} text" for column in SERIES)
    by_key = " WITHOUT ROWID" if dialect is Dialect.SQLITE else ""
    yield (
        f"CREATE TABLE usage_series (id {_ID[dialect]}, digest text NOT NULL UNIQUE, {keys},"
        " last_ms bigint NOT NULL)"
    )
    yield "CREATE INDEX usage_series_user ON usage_series (user_id)"
    for table, period in (("hours", "hour"), ("days", "day")):
        yield (
            f"CREATE TABLE usage_{table} ({period} bigint NOT NULL, series bigint NOT NULL,"
            f" {numbers}, PRIMARY KEY ({period}, series)){by_key}"
        )
        yield f"CREATE INDEX usage_{table}_series ON usage_{table} (series, {period})"
    yield f"CREATE TABLE usage_quarters (quarter bigint NOT NULL PRIMARY KEY, {numbers})"
    yield (
        "CREATE TABLE usage_sums (only_row boolean NOT NULL DEFAULT true PRIMARY KEY"
        " CHECK (only_row), since_ms bigint NOT NULL, by_writer boolean NOT NULL DEFAULT false)"
    )
    # All rows that exist are from before the next quarter after the last one.
    yield (
        "INSERT INTO usage_sums (since_ms) SELECT coalesce(max(time_ms)"  # noqa: S608 - constants
        f" / {QUARTER_MS} + 1, 0) * {QUARTER_MS} FROM usage_entries"
    )


def _sqlite() -> Iterator[str]:
    yield from _tables(Dialect.SQLITE)
    changes = {"insert": [("NEW", 1)], "delete": [("OLD", -1)], "update": [("OLD", -1), ("NEW", 1)]}
    for change, parts in changes.items():
        body = "".join(
            f"{statement}; "
            for row, sign in parts
            for statement in add(
                Dialect.SQLITE,
                f"(SELECT {', '.join(f'{row}.{name} AS {name}' for name in _USED)})",
                COVERED,
                sign=sign,
            )
        )
        # A trigger for each row is slow, so this program adds the rows of a batch together.
        unless = " WHEN NOT (SELECT by_writer FROM usage_sums)" if change == "insert" else ""
        yield (
            f"CREATE TRIGGER usage_sum_{change} AFTER {change.upper()} ON usage_entries"
            f"{unless} BEGIN {body}END"
        )


def _postgresql() -> Iterator[str]:
    yield from _tables(Dialect.POSTGRESQL)
    yield from _PARTITIONED
    removed = "; ".join(add(Dialect.POSTGRESQL, "old_rows", COVERED, sign=-1))
    added = "; ".join(add(Dialect.POSTGRESQL, "new_rows", COVERED))
    yield (
        "CREATE FUNCTION usage_sum() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN"
        f" IF TG_OP <> 'INSERT' THEN {removed}; END IF;"
        f" IF TG_OP <> 'DELETE' THEN {added}; END IF;"
        " RETURN NULL; END $body$"
    )
    old, new = "OLD TABLE AS old_rows", "NEW TABLE AS new_rows"
    for change, rows in (("insert", new), ("delete", old), ("update", f"{old} {new}")):
        yield (
            f"CREATE TRIGGER usage_sum_{change} AFTER {change.upper()} ON usage_entries"
            f" REFERENCING {rows} FOR EACH STATEMENT EXECUTE FUNCTION usage_sum()"
        )
    yield _GRANTS


# The existing table becomes the partition for everything else: no row is read or moved. Each
# partition has its own primary key, because that of a partitioned table would include the time.
_PARTITIONED = (
    "ALTER TABLE usage_entries RENAME TO usage_entries_rest",
    "ALTER INDEX usage_entries_time RENAME TO usage_entries_rest_time",
    "CREATE TABLE usage_entries (LIKE usage_entries_rest INCLUDING DEFAULTS)"
    " PARTITION BY RANGE (time_ms)",
    "ALTER TABLE usage_entries ATTACH PARTITION usage_entries_rest DEFAULT",
    "CREATE INDEX usage_entries_time ON usage_entries (time_ms)",
)
# Roles that write or read requests write or read the sums as well.
_GRANTS = f"""DO $body$
DECLARE one record;
BEGIN
    FOR one IN
        SELECT a.privilege_type AS kind, a.is_grantable,
            CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS role
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.oid = to_regclass('usage_entries_rest') AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON usage_entries, {", ".join(TABLES)} TO %s', one.kind, one.role)
            || CASE WHEN one.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
END $body$"""  # noqa: S608 - constants

SUMS: Mapping[Dialect, Statements] = {
    Dialect.SQLITE: tuple(_sqlite()),
    Dialect.POSTGRESQL: tuple(_postgresql()),
}
"""The step from tables of requests to tables with sums, and to partitions in PostgreSQL."""
