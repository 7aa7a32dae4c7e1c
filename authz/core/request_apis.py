"""The APIs whose requests Envoy reads beyond their model, by the ends of their paths."""

from dataclasses import dataclass
from enum import StrEnum


class OutputLimit(StrEnum):
    """The place of the limit on what a model writes."""

    NONE = "none"
    """Nowhere: the model writes nothing."""
    BODY = "body"
    """One field of the body."""
    FIELDS = "fields"
    """Several fields of the body, of which some multiply the response."""


@dataclass(frozen=True, slots=True)
class RequestApi:
    """An API of models.

    Attributes:
        protocol: Envoy's name.
        ends: the ends of its paths, without the query.
        limit: the place of the limit on a response.
    """

    protocol: str
    ends: tuple[str, ...]
    limit: OutputLimit


REQUEST_APIS = (
    RequestApi("ANTHROPIC_MESSAGES", ("/v1/messages",), OutputLimit.BODY),
    RequestApi("OPENAI_RESPONSES", ("/responses",), OutputLimit.BODY),
    # Completions have the fields of chat completions.
    RequestApi("OPENAI_CHAT_COMPLETIONS", ("/completions",), OutputLimit.FIELDS),
    RequestApi(
        "GEMINI_GENERATE_CONTENT",
        (":generateContent", ":streamGenerateContent"),
        OutputLimit.FIELDS,
    ),
    RequestApi(
        "LLM_PROTOCOL_UNSPECIFIED",
        (
            "/embeddings",
            "/moderations",
            "/rerank",
            "/count_tokens",
            ":countTokens",
            ":embedContent",
            ":batchEmbedContents",
        ),
        OutputLimit.NONE,
    ),
)
"""No path belongs to two of them."""

FORM_ENDS = (
    "/images/edits",
    "/images/variations",
    "/audio/transcriptions",
    "/audio/translations",
)
"""The ends of paths that take files, in forms that Envoy does not read."""
