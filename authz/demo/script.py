"""Write the text of the stand-in's responses."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from authz.demo.accounts import Credential

_QUOTED = 200
# Values of these fields are not text for a model, so they do not count as words.
_NOT_TEXT = {"type", "role", "id", "data", "url", "image_url", "media_type", "signature"}


@dataclass(frozen=True)
class Script:
    """The text of one response.

    Attributes:
        pieces: the text, in the pieces of a stream.
        delay: seconds between two pieces.
    """

    pieces: tuple[str, ...]
    delay: float

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    async def play(self) -> AsyncIterator[str]:
        """Yield the pieces, with the delay between them."""
        for number, piece in enumerate(self.pieces):
            if number:
                await asyncio.sleep(self.delay)
            yield piece


def compose(credential: Credential, prompt: str, delay: float) -> Script:
    """Return a text that names the credential, masked, and quotes the prompt."""
    quote = prompt if len(prompt) <= _QUOTED else prompt[:_QUOTED] + "…"
    text = (
        f"Hello from the stand-in provider. Credential: {credential}."
        f" You said: {quote or '(nothing)'}"
    )
    return Script(_pieces(text), delay)


def last_prompt(messages: Any) -> str:
    """Return the last text of the last user message, from any provider's format."""
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
        # The last part, because agents put their reminders before the user's own text.
        texts = [part.get("text") for part in parts if isinstance(part, dict)]
        return next((text for text in reversed(texts) if isinstance(text, str)), "")
    return ""


def count_words(*values: Any) -> int:
    """Count the words of all text in JSON values. The stand-in reports them as tokens."""
    words = 0
    # No recursion, because a client may send JSON of any depth.
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
