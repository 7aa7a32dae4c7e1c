"""Parsing of a record of Envoy's OpenTelemetry access log into a recorded request."""

import re
from collections.abc import Sequence
from functools import lru_cache

from google.protobuf.message import DecodeError

from authz.check.entry_ids import ID
from authz.pb import otlp_logs_pb2 as pb
from authz.printable import printable
from authz.usage.entry import Tokens, UsageEntry, judge, read_groups
from authz.usage.names import REQUEST_FIELDS

CANCELLED = re.compile(r"\b(?:DC|DR)\b")
"""The response flags for a client that closed the connection or reset the stream."""

_MILLISECOND = 1_000_000
_MAX_DIGITS = 15
_MAX_KNOWN = 100
_GROUPS = REQUEST_FIELDS.index("groups")
_MAX_GROUPS = 16_384
"""More than authz writes into the metadata, however Envoy escapes it."""
MAX_TOKENS = 10**12
"""The maximum of a count, so that sums stay within SQLite's integers."""
_NOTHING = frozenset({"", "-"})
"""The values that Envoy writes if there is no value."""
_NO_VALUE = "NULL"
"""The value that Envoy writes if a CEL expression has no value."""


class BadRecord(ValueError):  # noqa: N818 - it is named for what it is about
    """A record does not have the format of authz's Envoy configuration."""


def read_entry(values: Sequence[bytes], time_ns: int) -> UsageEntry:
    """Return the request of a record.

    Args:
        values: serialized ``AnyValue``s of ``REQUEST_FIELDS``, in order; the last one may be absent
            (``REQUEST_BEFORE_GROUPS``).
        time_ns: the time at which the request began, in nanoseconds of Unix time.

    Raises:
        BadRecord: the number of values is wrong, or a required one is missing.
    """
    if not len(REQUEST_FIELDS) - 1 <= len(values) <= len(REQUEST_FIELDS):
        raise BadRecord("the number of fields is wrong")
    entry, decision, reason, user, user_id, token_id, token_name, provider, mode = values[:9]
    status, duration, flags, _, request_id, session, encoding, model = values[9:17]
    *counts, extracted = values[17:_GROUPS]
    entry_id = _read(entry)
    if ID.fullmatch(entry_id) is None:
        raise BadRecord("the id is not one of authz")
    name = text_of(model)
    username, code, decided = text_of(user), _count(status) or 0, text_of(decision) or ""
    return UsageEntry(
        id=entry_id,
        time_ms=time_ns // _MILLISECOND,
        decision=decided,
        status=code,
        usage=judge(
            decision=decided,
            status=code,
            extracted=_count(extracted),
            encoding=text_of(encoding) or "",
            is_cancelled=CANCELLED.search(text_of(flags) or "") is not None,
        ),
        duration_ms=_count(duration) or 0,
        request_id=_or_none(_read(request_id)),
        user_id=text_of(user_id),
        username=username,
        token_id=text_of(token_id),
        # A token may have any name, even a dash.
        token_name=_read(token_name) if username is not None else None,
        provider=text_of(provider),
        mode=text_of(mode),
        reason=text_of(reason),
        model=None if name == _NO_VALUE else name,
        proxy_session=text_of(session),
        tokens=Tokens(*map(_count, counts)),
        groups=_groups(values[_GROUPS]) if len(values) > _GROUPS else (),
    )


def text_of(value: bytes) -> str | None:
    """Return the text of a value, or None if Envoy wrote that there is none.

    Args:
        value: a serialized ``AnyValue``.

    Raises:
        BadRecord: it is not an ``AnyValue``.
    """
    # Providers choose some of the texts, so long ones are not cached.
    return _known(value) if len(value) <= _MAX_KNOWN else _or_none(_read(value))


@lru_cache(maxsize=4096)
def _known(value: bytes) -> str | None:
    return _or_none(_read(value))


def _count(value: bytes) -> int | None:
    return _known_count(value) if len(value) <= _MAX_KNOWN else None


@lru_cache(maxsize=4096)
def _known_count(value: bytes) -> int | None:
    text = _read(value)
    is_count = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if is_count and int(text) <= MAX_TOKENS else None


def _groups(value: bytes) -> tuple[str, ...]:
    return _known_groups(value) if len(value) <= _MAX_GROUPS else ()


@lru_cache(maxsize=1024)
def _known_groups(value: bytes) -> tuple[str, ...]:
    return read_groups(_decoded(value).decode("utf-8", "replace"))


def _read(value: bytes) -> str:
    return printable(_decoded(value).decode("utf-8", "replace"))


def _decoded(value: bytes) -> bytes:
    try:
        data: bytes = pb.AnyValue.FromString(value).string_value
    except DecodeError:
        raise BadRecord("a field is not a value") from None
    return data


def _or_none(text: str) -> str | None:
    return None if text in _NOTHING else text
