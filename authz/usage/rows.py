"""Conversion of rows of recorded requests."""

import json
from dataclasses import dataclass

from authz.database.interface import Row
from authz.printable import printable
from authz.usage.entry import Report, Tokens, UsageEntry


@dataclass(frozen=True, slots=True)
class Line:
    """A sum over requests.

    Attributes:
        key: the value that the requests have in common.
        requests: the number of requests, including refused ones.
        unknown: the number of answered requests whose tokens are not known.
        cost: nano-dollars of the requests with central keys.
        own_cost: nano-dollars of the requests with the users' own keys.
        unpriced: the number of requests whose tokens are known, and whose cost is not.
    """

    key: str
    requests: int
    refusals: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    unknown: int
    cost: int = 0
    own_cost: int = 0
    unpriced: int = 0


def tokens_of(row: Row) -> Tokens:
    """Return the tokens of a row."""
    return Tokens(
        input=row["input_tokens"],
        cached=row["cached_tokens"],
        cache_write=row["cache_write_tokens"],
        output=row["output_tokens"],
        reasoning=row["reasoning_tokens"],
    )


def completed(row: Row, report: Report) -> UsageEntry:
    """Return a request from its row and its end."""
    return UsageEntry(
        id=report.id,
        time_ms=int(row["time_ms"]),
        decision="allow",
        status=report.status,
        usage=report.usage,
        duration_ms=report.duration_ms,
        provider=row["provider"],
        mode=row["mode"],
        username=row["username"],
        model=report.model,
        tokens=report.tokens,
    )


def values_of(entry: UsageEntry) -> tuple[str | int | None, ...]:
    """Return the values of a request for ``schema.COLUMNS``."""
    tokens = entry.tokens
    return (
        entry.id,
        entry.time_ms,
        entry.decision,
        entry.status,
        str(entry.usage),
        entry.duration_ms,
        entry.request_id,
        entry.user_id,
        entry.username,
        entry.token_id,
        entry.token_name,
        entry.provider,
        entry.mode,
        entry.reason,
        entry.model,
        entry.proxy_session,
        tokens.input,
        tokens.cached,
        tokens.cache_write,
        tokens.output,
        tokens.reasoning,
        json.dumps(entry.groups) if entry.groups else None,
        entry.cost,
        entry.project,
        entry.session,
    )


def line_of(row: Row) -> Line:
    """Return a sum from its row."""
    return Line(
        # Rows may be older than the code that cleans texts before writing them.
        key=printable(str(row["key"])),
        requests=int(row["requests"]),
        refusals=int(row["refusals"]),
        input_tokens=int(row["input_tokens"]),
        cached_tokens=int(row["cached_tokens"]),
        output_tokens=int(row["output_tokens"]),
        unknown=int(row["unknown"]),
        cost=int(row["cost"]),
        own_cost=int(row["own_cost"]),
        unpriced=int(row["unpriced"]),
    )
