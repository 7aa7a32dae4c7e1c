"""Answers that a stand-in for Coder gives in place of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

USERS_ME, BUILD_INFO = "/api/v2/users/me", "/api/v2/buildinfo"


@dataclass(frozen=True)
class Canned:
    """An answer that the server gives instead of its own."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, body: Any) -> "Canned":
        """Return an answer whose body is JSON."""
        headers = {"content-type": "application/json; charset=utf-8"}
        return cls(status, json.dumps(body).encode(), headers)


# The contract names the status alone, or the beginning; the rest of these texts is a guess.
RATE_LIMITED = Canned.of(429, {"message": "You've been rate limited. Please try again later."})
INTERNAL_ERROR = Canned.of(
    500, {"message": "An internal error occurred. Please try again or contact the administrator."}
)
NO_JSON = Canned(200, b"<!doctype html><title>Coder</title>", {"content-type": "text/html"})


def redirect(to: str, status: int = 307) -> Canned:
    """Return an answer that redirects the client."""
    return Canned(status, b"", {"location": to})
