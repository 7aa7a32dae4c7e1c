"""A recorded request in the form in which it leaves authz: as a JSON line and as an OTLP record."""

from datetime import UTC, datetime, timedelta
from typing import Any

from authz.database.interface import Row
from authz.printable import printable
from authz.usage.entry import Usage, UsageEntry, read_groups
from authz.usage.rows import tokens_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIELDS = (
    "id",
    "time",
    "decision",
    "status",
    "usage",
    "duration_ms",
    "request_id",
    "user_id",
    "username",
    "groups",
    "token_id",
    "token_name",
    "provider",
    "mode",
    "reason",
    "model",
    "proxy_session",
    "project",
    "session",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_dollars",
)
"""The names, in order. Names are added at the end of a version; none is changed or removed."""


def as_record(entry: UsageEntry) -> dict[str, Any]:
    """Return all fields of a request as JSON values; one that is not known is None."""
    tokens = entry.tokens
    values = (
        entry.id,
        rfc3339_ms(entry.time_ms),
        entry.decision,
        entry.status,
        str(entry.usage),
        entry.duration_ms,
        entry.request_id,
        entry.user_id,
        entry.username,
        [printable(name) for name in entry.groups],
        entry.token_id,
        entry.token_name,
        entry.provider,
        entry.mode,
        entry.reason,
        entry.model,
        entry.proxy_session,
        entry.project,
        entry.session,
        tokens.input,
        tokens.cached,
        tokens.cache_write,
        tokens.output,
        tokens.reasoning,
        entry.cost,
    )
    # Rows may be older than the code that cleans texts before writing them.
    cleaned = (printable(value) if isinstance(value, str) else value for value in values)
    return dict(zip(FIELDS, cleaned, strict=True))


def entry_of(row: Row) -> UsageEntry:
    """Return the request of a row of ``usage_entries``."""
    return UsageEntry(
        id=row["id"],
        time_ms=row["time_ms"],
        decision=row["decision"],
        status=row["status"],
        usage=Usage(row["usage"]),
        duration_ms=row["duration_ms"],
        request_id=row["request_id"],
        user_id=row["user_id"],
        username=row["username"],
        token_id=row["token_id"],
        token_name=row["token_name"],
        provider=row["provider"],
        mode=row["mode"],
        reason=row["reason"],
        model=row["model"],
        proxy_session=row["proxy_session"],
        tokens=tokens_of(row),
        groups=read_groups(row["groups"] or ""),
        cost=row["cost"],
        project=row["project"],
        session=row["session"],
    )


def rfc3339_ms(time_ms: int) -> str:
    """Return a time in UTC with milliseconds, such as ``2026-11-28T10:00:00.123Z``."""
    at = _EPOCH + timedelta(milliseconds=time_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
