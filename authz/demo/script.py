"""What the stand-in says, how fast, and how it fails: all of it follows from the model's name."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from authz.demo.errors import ProviderError, asked_for
from authz.demo.recording import Visit

_FAIL = re.compile(r"fail-(400|429|500|529)")
_SLOW = re.compile(r"slow-([1-9][0-9]{0,3})")
_QUOTED = 200
# Strings that are no text for a model: they would make the count of words meaningless.
_NOT_TEXT = {"type", "role", "id", "data", "url", "image_url", "media_type", "signature"}


@dataclass(frozen=True)
class Script:
    """One answer.

    Attributes:
        pieces: the answer's text, as it is streamed.
        delay: seconds between two pieces.
        wait: seconds before an answer that is not streamed.
        ending: how a stream ends.
    """

    pieces: tuple[str, ...]
    delay: float
    wait: float = 0.0
    ending: Literal["whole", "abort", "error"] = "whole"

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    async def play(self) -> AsyncIterator[str]:
        """Yield the pieces at the script's pace."""
        for number, piece in enumerate(self.pieces):
            if number:
                await asyncio.sleep(self.delay)
            yield piece


def write(visit: Visit, model: str, said: str, *, stream: bool) -> Script:
    """Return the answer to what a user said.

    Args:
        visit: who asks.
        model: its name may ask for a behaviour: `fail-429`, `slow-5`, `abort-midstream`,
            `error-midstream`.
        said: the user's text, which the answer quotes.
        stream: the client asked for a stream.

    Raises:
        ProviderError: the model's name asks for it.
    """
    if match := _FAIL.fullmatch(model):
        raise asked_for(int(match.group(1)))
    quote = said if len(said) <= _QUOTED else said[:_QUOTED] + "…"
    text = (
        f"Hello from the stand-in provider. Credential: {visit.credential}."
        f" You said: {quote or '(nothing)'}"
    )
    if match := _SLOW.fullmatch(model):
        count = int(match.group(1))
        ticks = (f" Tick {number} of {count}." for number in range(2, count + 1))
        return Script((text, *ticks), delay=1.0, wait=count - 1.0)
    if model == "error-midstream" and not stream:
        raise ProviderError(529)
    endings: dict[str, Literal["abort", "error"]] = {
        "abort-midstream": "abort",
        "error-midstream": "error",
    }
    return Script(_pieces(text), visit.chunk_delay, ending=endings.get(model, "whole"))


def last_said(messages: Any) -> str:
    """Return the last text of the last user message, from any of the providers' formats."""
    if isinstance(messages, str):
        return messages
    if not isinstance(messages, list):
        return ""
    for message in reversed(messages):
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            return content
        parts = content if isinstance(content, list) else []
        # The last part: agents put their reminders before the user's own words.
        texts = [part.get("text") for part in parts if isinstance(part, dict)]
        return next((text for text in reversed(texts) if isinstance(text, str)), "")
    return ""


def count_words(*values: Any) -> int:
    """Count the words in all text within JSON values: what the stand-in calls tokens."""
    words = 0
    # A list instead of recursion: the depth of the JSON is the client's choice.
    todo = list(values)
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            words += len(value.split())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, dict):
            todo.extend(inner for name, inner in value.items() if name not in _NOT_TEXT)
    return words


def _pieces(text: str) -> tuple[str, ...]:
    words = re.findall(r"\s*\S+|\s+$", text)
    return tuple("".join(words[start : start + 3]) for start in range(0, len(words), 3))
