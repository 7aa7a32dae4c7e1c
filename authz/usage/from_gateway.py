"""Parsing of a record of an external gateway's access log."""

import re
from collections.abc import Iterable

from authz.pb import otlp_logs_pb2 as pb
from authz.usage.entry import Report, Tokens, Usage, judge
from authz.usage.from_stream import CANCELLED, BadRecord, count_of, text_of
from authz.usage.names import LOG_ENTRY

EXTERNAL_ID = re.compile(r"[0-9a-f]{12}-[0-9a-f]{32}")
_COUNTS = (
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"),
    "reasoning_tokens",
)
_MAX_STATUS = 599
_NO_VALUE = "NULL"


def read_report(attributes: Iterable[pb.KeyValue]) -> Report | None:
    """Return the end of a request, or None if authz has allowed no request of that record.

    Raises:
        BadRecord: an attribute is not a text.
    """
    values = {attribute.key: attribute.value for attribute in attributes}
    if LOG_ENTRY not in values:
        raise BadRecord(f"it has no attribute {LOG_ENTRY}")
    entry_id = text_of(values[LOG_ENTRY]) or ""
    # Without a check by authz Envoy writes a dash, or nothing.
    if not entry_id:
        return None
    if EXTERNAL_ID.fullmatch(entry_id) is None:
        raise BadRecord("the id is not one of authz")

    def text(name: str) -> str:
        return text_of(values[name]) or "" if name in values else ""

    def count(name: str) -> int | None:
        return count_of(values[name]) if name in values else None

    status = count("status") or 0
    usage = judge(
        decision="allow",
        status=status,
        extracted=count("usage"),
        encoding=text("content_encoding"),
        is_cancelled=CANCELLED.search(text("flags")) is not None,
    )
    model = text("model")
    tokens = Tokens(*map(count, _COUNTS))
    return Report(
        id=entry_id,
        status=status if status <= _MAX_STATUS else 0,
        # Such a gateway mostly can't read tokens, so that nothing found means nothing known.
        usage=Usage.UNREPORTED if usage is Usage.NONE else usage,
        duration_ms=count("duration_ms") or 0,
        model=None if model in ("", _NO_VALUE) else model,
        tokens=tokens,
    )
