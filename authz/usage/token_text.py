"""Parsing of Envoy's ``TokenUsage`` as protobuf's debug text, which the access log has.

One expression writes the whole message, where each field would take one of its own. Protobuf
promises no form of its debug text, so that the parser accepts any spaces, separators and order of
fields, and a test compares it with the pinned Envoy.
"""

import re
from typing import NamedTuple

from authz.usage.entry import NO_TOKENS, Tokens
from authz.usage.from_stream import MAX_TOKENS

_USUAL = re.compile(
    r'llm_protocol: \w+ model: "([^"\\]*)" '
    r"input_tokens \{ value: (\d{1,12}) \} output_tokens \{ value: (\d{1,12}) \} "
    r"(?:total_tokens \{ value: \d+ \} )?"
    r"(?:input_token_details \{ (?:cached_tokens: (\d{1,12}) )?"
    r"(?:cache_creation_tokens: (\d{1,12}) )?\} )?"
    r"(?:output_token_details \{ (?:reasoning_tokens: (\d{1,12}) )?\} )?"
    r"extraction_status: (\w+) ?",
    re.ASCII,
)
"""The form of Envoy 1.40, read in a fifth of the time that any other form takes."""
_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([\w.+-]+)|([{}])|(")', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_STATUS = {"COMPLETE": 1, "PARTIAL": 2, "FAILED": 3, "1": 1, "2": 2, "3": 3}
_FAILED = 3
_MAX_DIGITS = 15


class Found(NamedTuple):
    """Envoy's findings in an answer.

    Attributes:
        status: ``envoy.data.ai.v3.TokenUsage.ExtractionStatus``; None if Envoy did not look.
    """

    model: str | None
    tokens: Tokens
    status: int | None


NOTHING = Found(None, NO_TOKENS, None)


def read_tokens(text: str) -> Found:
    """Return the model, the tokens and the status of a debug text.

    A text that ends early or has no known status is a failed extraction, never no extraction: the
    request may have cost something.

    Args:
        text: empty or ``-`` where Envoy found nothing to look into.
    """
    if text in ("", "-"):
        return NOTHING
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        model, read, wrote, cached, cache_write, reasoning, status = usual.groups()
        tokens = Tokens(
            int(read), int(cached or 0), int(cache_write or 0), int(wrote), int(reasoning or 0)
        )
        return Found(model, tokens, _STATUS.get(status.rpartition("_")[2], _FAILED))
    return read_any_form(text)


def read_any_form(text: str) -> Found:
    """Return the same as ``read_tokens`` for a text of any form."""
    fields = _fields(text)
    model = fields.get("model")
    tokens = Tokens(
        input=_count(fields, "input_tokens"),
        # Plain numbers in Envoy's message, which has no zeros in its text.
        cached=_count(fields, "input_token_details.cached_tokens") or 0,
        cache_write=_count(fields, "input_token_details.cache_creation_tokens") or 0,
        output=_count(fields, "output_tokens"),
        reasoning=_count(fields, "output_token_details.reasoning_tokens") or 0,
    )
    status = fields.get("extraction_status", "").rpartition("_")[2]
    return Found(model, tokens, _STATUS.get(status, _FAILED))


def _fields(text: str) -> dict[str, str]:
    """Return the values by their names, with a dot before the name of an inner field."""
    fields: dict[str, str] = {}
    outer: list[str] = []
    name = ""
    for string, word, brace, unended in _PART.findall(text):
        if unended:
            break
        if brace == "{":
            outer.append(name)
            name = ""
        elif brace:
            del outer[-1:]
            name = ""
        elif not name:
            name = word
        else:
            fields.setdefault(".".join((*outer, name)), word or _unescaped(string))
            name = ""
    return fields


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_letter, text.encode()).decode("utf-8", "replace")


def _letter(escape: re.Match[bytes]) -> bytes:
    letter = escape[1]
    if letter[:1].isdigit():
        return bytes((int(letter, 8) & 0xFF,))
    if len(letter) > 1:
        return bytes((int(letter[1:], 16),))
    return _LETTERS.get(letter, letter)


def _count(fields: dict[str, str], name: str) -> int | None:
    text = fields.get(f"{name}.value") or fields.get(name) or ""
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        return None
    count = int(text)
    return count if count <= MAX_TOKENS else None
