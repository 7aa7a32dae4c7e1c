"""Parsing of a record of Envoy's access log that is one text into a recorded request."""

import json
from functools import lru_cache
from typing import Any, NamedTuple

from authz.check.entry_ids import ID
from authz.check.metadata import FACTS
from authz.printable import printable
from authz.usage.entry import UsageEntry, clean_groups, judge
from authz.usage.from_stream import CANCELLED, BadRecord
from authz.usage.names import RECORD_LINES, TAG_LINES
from authz.usage.token_text import read_tokens

_MILLISECOND = 1_000_000
_MAX_DIGITS = 15
_NOTHING = ("", "-")
_COUNTS = (len(RECORD_LINES), len(RECORD_LINES) + len(TAG_LINES))
_MAX_KNOWN = 2048
_MAX_FACTS = 32_768
"""More than authz writes, even if every character of every group is escaped."""


class _Facts(NamedTuple):
    """The facts about a request that authz wrote."""

    decision: str
    reason: str | None
    user: str | None
    user_id: str | None
    token_id: str | None
    token_name: str | None
    provider: str | None
    mode: str | None
    groups: tuple[str, ...]


def read_text(text: str, time_ns: int) -> tuple[UsageEntry, str]:
    """Return the request of a record, and Envoy's details of the response.

    Args:
        text: ``RECORD_LINES`` and perhaps ``TAG_LINES``, without the first line, the kind.
        time_ns: the time at which the request began, in nanoseconds of Unix time.

    Raises:
        BadRecord: the number of lines is wrong, or a required one is not what authz wrote.
    """
    lines = text.split("\n")
    if len(lines) not in _COUNTS:
        raise BadRecord("the number of fields is wrong")
    entry_id, facts, status, duration, flags, details = lines[:6]
    request_id, tunnel, encoding, tokens = lines[6 : len(RECORD_LINES)]
    project, session = map(_text, lines[len(RECORD_LINES) :] or ("", ""))
    if ID.fullmatch(entry_id) is None:
        raise BadRecord("the id is not one of authz")
    known = _known_facts(facts) if len(facts) <= _MAX_KNOWN else _read_facts(facts)
    code, found = _number(status), read_tokens(tokens)
    request = UsageEntry(
        id=entry_id,
        time_ms=time_ns // _MILLISECOND,
        decision=known.decision,
        status=code,
        usage=judge(
            decision=known.decision,
            status=code,
            extracted=found.status,
            encoding="" if encoding in _NOTHING else encoding,
            is_cancelled=flags not in _NOTHING and CANCELLED.search(flags) is not None,
        ),
        duration_ms=_number(duration),
        request_id=_text(request_id),
        user_id=known.user_id,
        username=known.user,
        token_id=known.token_id,
        token_name=known.token_name,
        provider=known.provider,
        mode=known.mode,
        reason=known.reason,
        model=printable(found.model) or None if found.model else None,
        proxy_session=_text(tunnel),
        tokens=found.tokens,
        groups=known.groups,
        project=project,
        session=session,
    )
    return request, details


def _read_facts(text: str) -> _Facts:
    if len(text) > _MAX_FACTS:
        raise BadRecord("the facts are too long")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(FACTS):
        raise BadRecord("the facts are not those of authz: let authz and Envoy be one version")
    decision, reason, user, user_id, token_id, token_name, provider, mode = map(_clean, values[:-1])
    return _Facts(
        decision or "",
        reason,
        user,
        user_id,
        token_id,
        token_name,
        provider,
        mode,
        clean_groups(values[-1]),
    )


_known_facts = lru_cache(maxsize=2048)(_read_facts)


def _clean(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) and value else None


def _text(value: str) -> str | None:
    return None if value in _NOTHING else printable(value)


def _number(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else 0
