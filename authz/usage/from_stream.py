"""A request from Envoy's access log, as its OpenTelemetry logger sends it."""

import re
from collections.abc import Sequence
from functools import lru_cache

from authz.usage.entry import Tokens, UsageEntry, judge
from authz.usage.ids import ID
from authz.usage.names import REQUEST_FIELDS

CANCELLED = re.compile(r"\b(?:DC|DR)\b")
"""Response flags: the client closed the connection, or reset the stream."""

_MILLISECOND = 1_000_000
_MAX_TEXT = 500
_MAX_DIGITS = 19
_NOTHING = frozenset({b"", b"-", b"NULL"})
"""What Envoy writes where there is nothing."""


class BadRecord(ValueError):  # noqa: N818 - it is named for what it is about
    """A record is not what our configuration tells Envoy to write."""


def read_entry(values: Sequence[bytes], time_ns: int) -> UsageEntry:
    """Return the request of a record.

    Args:
        values: of ``REQUEST_FIELDS``, in order.
        time_ns: when it began, in nanoseconds of Unix time.

    Raises:
        BadRecord: there are more or fewer values, or what has to be there is not.
    """
    if len(values) != len(REQUEST_FIELDS):
        raise BadRecord("not the fields of a request")
    entry, decision, reason, user, user_id, token_id, token_name, provider, mode = values[:9]
    status, duration, flags, _, request_id, session, encoding, model = values[9:17]
    *counts, extracted = values[17:]
    entry_id = entry.decode("ascii", "replace")
    if ID.fullmatch(entry_id) is None:
        raise BadRecord("no id of ours")
    username, code, decided = _text(user), _count(status) or 0, _text(decision) or ""
    return UsageEntry(
        id=entry_id,
        time_ms=time_ns // _MILLISECOND,
        decision=decided,
        status=code,
        usage=judge(
            decision=decided,
            status=code,
            extracted=_count(extracted),
            encoding=_text(encoding) or "",
            is_cancelled=CANCELLED.search(_text(flags) or "") is not None,
        ),
        duration_ms=_count(duration) or 0,
        request_id=_text_of(request_id),
        user_id=_text(user_id),
        username=username,
        token_id=_text(token_id),
        # A token may have any name, a dash too.
        token_name=_clean(token_name) if username is not None else None,
        provider=_text(provider),
        mode=_text(mode),
        reason=_text(reason),
        model=_text(model),
        proxy_session=_text(session),
        tokens=Tokens(*map(_count, counts)),
    )


def _text_of(value: bytes) -> str | None:
    return None if value in _NOTHING else _clean(value)


def _clean(value: bytes) -> str:
    # Without what no database takes, or nobody reads.
    return value.decode("utf-8", "replace").replace("\0", "\ufffd")[:_MAX_TEXT]


_text = lru_cache(maxsize=4096)(_text_of)
"""For what repeats."""


@lru_cache(maxsize=4096)
def _count(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) < _MAX_DIGITS else None
