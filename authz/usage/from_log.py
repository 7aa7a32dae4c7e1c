"""Parsing of a line of Envoy's JSON access log into a recorded request."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from authz.check.entry_ids import ID
from authz.printable import printable
from authz.usage.entry import Tokens, UsageEntry, clean_groups, judge
from authz.usage.from_stream import CANCELLED, MAX_TOKENS

_MAX_NUMBER = 1 << 62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class BadLine(ValueError):  # noqa: N818 - it is named for what it is about
    """A line has an id of authz but is not valid."""


def read_line(line: str) -> UsageEntry | None:
    """Return the request of a line, or None.

    The result is None for a line of another program, and for a request without a check.

    Raises:
        BadLine: the line has an id of authz, but Envoy can't have written it.
    """
    if not line.startswith("{"):
        return None
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    entry_id = values.get("entry") if isinstance(values, dict) else None
    if not isinstance(entry_id, str) or ID.fullmatch(entry_id) is None:
        return None
    decision, status = _text(values, "decision") or "", _count(values, "status") or 0
    return UsageEntry(
        id=entry_id,
        time_ms=_time(values),
        decision=decision,
        status=status,
        usage=judge(
            decision=decision,
            status=status,
            extracted=_count(values, "usage"),
            encoding=_text(values, "content_encoding") or "",
            is_cancelled=CANCELLED.search(_text(values, "flags") or "") is not None,
        ),
        duration_ms=_count(values, "duration_ms") or 0,
        request_id=_text(values, "request_id"),
        user_id=_text(values, "user_id"),
        username=_text(values, "user"),
        token_id=_text(values, "token_id"),
        token_name=_text(values, "token_name"),
        provider=_text(values, "provider"),
        mode=_text(values, "mode"),
        reason=_text(values, "reason"),
        model=_text(values, "model"),
        proxy_session=_text(values, "proxy_session"),
        tokens=Tokens(
            input=_count(values, "input_tokens"),
            cached=_count(values, "cached_tokens"),
            cache_write=_count(values, "cache_write_tokens"),
            output=_count(values, "output_tokens"),
            reasoning=_count(values, "reasoning_tokens"),
        ),
        groups=clean_groups(values.get("groups")),
        project=_text(values, "project"),
        session=_text(values, "session"),
    )


def _time(values: dict[str, Any]) -> int:
    text = _text(values, "time")
    try:
        at = datetime.fromisoformat(text or "")
        # Without floating point, so that the time is that of the record that Envoy sent to authz.
        return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise BadLine("time: is not a date") from None


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadLine(f"{key}: is not text")
    return printable(value)


def _count(values: dict[str, Any], key: str) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    # Envoy may write a number as 7.0.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < _MAX_NUMBER:
        raise BadLine(f"{key}: is not a count")
    return int(value) if value <= MAX_TOKENS else None
