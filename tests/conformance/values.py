"""The header values of a cell of the matrix."""

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from tests.conformance.expected import CODER_TOKENS, Cell, Forwarded
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, SUBSCRIPTION, Pair

SYMBOLS = string.ascii_letters + string.digits


def made_up_token() -> str:
    """Return a well-formed Coder token that is in no database."""
    text = "".join(secrets.choice(SYMBOLS) for _ in range(32))
    return f"{text[:10]}-{text[10:]}"


@dataclass(frozen=True)
class Values:
    """The text for each kind of credential.

    Attributes:
        tokens: kind to Coder token.
        malformed: a token without its last character, as after a careless copy.
    """

    tokens: Mapping[str, str]
    malformed: str = field(default_factory=lambda: made_up_token()[:-1])

    @classmethod
    def made_up(cls) -> "Values":
        """Return values that are in no database."""
        return cls({kind: made_up_token() for kind in CODER_TOKENS})

    @classmethod
    def of(cls, pair: Pair) -> "Values":
        """Create the tokens in the database of a pair whose users are alice and bob."""
        tokens = {
            "alice": pair.create_token("alice"),
            "bob": pair.create_token("bob"),
            "expired": pair.create_token("alice", timedelta(microseconds=1)),
            "deleted": pair.create_token("alice"),
        }
        pair.delete_token(tokens["deleted"])
        return cls(tokens)

    def credential(self, cell: Cell, source: str) -> str | None:
        """Return the value of one of the three headers, without a scheme."""
        kind = {
            "governance": cell.governance,
            "authorization": cell.authorization,
            "x-api-key": cell.x_api_key,
        }[source]
        if kind == "none":
            return None
        if kind == "malformed":
            return self.malformed
        if kind != "provider key":
            return self.tokens[kind]
        if source == "governance":
            return "sk-ant-put-into-the-wrong-header"
        if source == "x-api-key":
            return OWN_KEYS["anthropic"]
        return SUBSCRIPTION if cell.provider == "anthropic" else OWN_KEYS[cell.provider]

    def headers(self, cell: Cell) -> dict[str, str]:
        """Return the credential headers of a cell."""
        governance = self.credential(cell, "governance")
        bearer = self.credential(cell, "authorization")
        api_key = self.credential(cell, "x-api-key")
        headers = {}
        if governance is not None:
            headers["x-coder-ai-governance-token"] = governance
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        if api_key is not None:
            headers["x-api-key"] = api_key
        return headers

    def forwarded(self, cell: Cell, expected: Forwarded) -> str:
        """Return the one credential that the provider must see, without a scheme."""
        if expected.source == "central":
            return CENTRAL_KEYS[cell.provider]
        value = self.credential(cell, expected.header)
        assert value is not None
        return value
