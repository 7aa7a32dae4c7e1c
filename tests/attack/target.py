"""A gateway under attack, and checks of what no attack may cause."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import httpx

from authz.core.providers import PROVIDER_TYPES
from tests.support import raw
from tests.support.pair import CENTRAL_KEYS, OWN_CREDENTIALS, TYPES, Pair
from tests.support.provider import RecordedRequest
from tests.support.raw import Answer, Closed, Headers
from tests.support.together import together

BODY = (
    b'{"model":"claude-sonnet-4-5","max_tokens":8,"messages":[{"role":"user","content":"Hello"}]}'
)
MESSAGES = "/anthropic/v1/messages"
GOVERNANCE = "x-coder-ai-governance-token"
CREDENTIAL_HEADERS = (GOVERNANCE, "authorization", "x-api-key")

_MARKER = "x-marker"
_SECRET_KEYS = (*CENTRAL_KEYS.values(), *OWN_CREDENTIALS)
_marks = itertools.count()


@dataclass(frozen=True)
class Outcome:
    """The result of an attack: an answer, or None for a closed connection; and what got through."""

    answer: Answer | None
    seen: list[RecordedRequest]

    @property
    def status(self) -> int | None:
        """The answer's status; None for a closed connection."""
        return self.answer.status if self.answer else None

    @property
    def error_type(self) -> str:
        """The ``type`` of the answer's error object."""
        assert self.answer is not None
        return str(self.answer.error["type"])


class Target:
    """A gateway, a valid token of alice's and one of bob's.

    Every request through it is held to the same promise: no provider key and no Coder token in an
    answer, nothing but requests of the allow-list with a provider's own credential at the provider,
    and JSON with a type and a message in every refusal.
    """

    def __init__(self, gateway: Pair) -> None:
        self.gateway = gateway
        self.token = gateway.create_token("alice")
        self.other = gateway.create_token("bob")
        self._client = httpx.Client(
            base_url=gateway.url, headers={"x-api-key": self.token}, timeout=raw.PATIENCE
        )

    def __enter__(self) -> Self:
        """Return the target."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Delete the tokens."""
        self._client.close()
        self.gateway.delete_token(self.token)
        self.gateway.delete_token(self.other)

    def value(self, header: str, token: str | None = None) -> str:
        """Write alice's token as the value of a credential header."""
        token = token or self.token
        return f"Bearer {token}" if header == "authorization" else token

    def post(
        self, headers: Headers, target: str | bytes = MESSAGES, *, body: bytes = BODY
    ) -> Outcome:
        """Send a POST."""
        return self.send(raw.request("POST", target, headers, body))

    def get(self, target: str | bytes, headers: Headers | None = None) -> Outcome:
        """Send a GET, with alice's token unless other headers are given."""
        return self.send(raw.request("GET", target, self.valid() if headers is None else headers))

    def valid(self) -> Headers:
        """Return the headers of a request that may pass."""
        return [("x-api-key", self.token)]

    def send(self, data: bytes, *, head: bool = False, timeout: float = raw.PATIENCE) -> Outcome:
        """Send bytes and look at what they bring about."""
        self.gateway.provider.take()
        try:
            answer = raw.ask(self.gateway.port, data, head=head, timeout=timeout)
        except Closed:
            answer = None
        return self.outcome(answer, head=head)

    def send_h2(self, headers: Headers, body: bytes = BODY) -> Outcome:
        """Send an HTTP/2 request and look at what it brings about."""
        self.gateway.provider.take()
        try:
            answer = raw.ask_h2(self.gateway.port, headers, body)
        except Closed:
            answer = None
        return self.outcome(answer)

    def send_each_h2(self, requests: Sequence[Headers], body: bytes = BODY) -> list[Outcome]:
        """Send HTTP/2 requests at the same time, each on a connection of its own.

        What reaches the provider is in the first outcome.
        """

        def ask(headers: Headers) -> Answer | None:
            try:
                return raw.ask_h2(self.gateway.port, headers, body)
            except Closed:
                return None

        self.gateway.provider.take()
        return [self.outcome(answer) for answer in together(ask, requests)]

    def outcome(self, answer: Answer | None, *, head: bool = False) -> Outcome:
        """Check the promise for an answer and for all that has reached the provider."""
        seen = self.reached()
        if answer is not None:
            self.check_secrets(answer.whole)
            if answer.status >= 400 and not seen and not head:
                error = answer.error
                assert error["type"].endswith("_error"), error
                assert error["message"], error
        for visit in seen:
            self._check_visit(visit)
        return Outcome(answer, seen)

    def reached(self) -> list[RecordedRequest]:
        """Return what has reached the provider so far.

        A request of our own goes behind it, so that what was sent on before has arrived.
        """
        mark = f"mark-{next(_marks)}"
        answer = self._client.get("/anthropic/v1/models", headers={_MARKER: mark})
        assert answer.status_code == 200, answer.text
        seen = self.gateway.provider.take()
        assert any(mark in visit.all(_MARKER) for visit in seen)
        return [visit for visit in seen if not visit.all(_MARKER)]

    def check_secrets(self, data: bytes) -> None:
        """Assert that bytes hold no provider key and no secret part of a token."""
        for secret in (*_SECRET_KEYS, *self.token_secrets):
            assert secret.encode() not in data

    @property
    def token_secrets(self) -> tuple[str, ...]:
        """The secret parts of the tokens."""
        return self.token.partition("-")[2], self.other.partition("-")[2]

    def _check_visit(self, visit: RecordedRequest) -> None:
        provider = PROVIDER_TYPES[TYPES[visit.provider]]
        path = visit.path
        if visit.provider == "openai":
            assert path.startswith("/v1/"), path
        elif visit.provider == "chatgpt":
            path = "/v1" + path.removeprefix("/backend-api/codex")
        assert any(
            visit.method in allowed.methods and re.fullmatch(allowed.pattern, path)
            for allowed in provider.paths
        ), f"{visit.method} {path} is not allowed"
        assert "/../" not in f"{path}/", path
        assert visit.credential in _SECRET_KEYS, visit.credential_header
        text = "\n".join([visit.path, visit.query, *(value for _, value in visit.headers)])
        for secret in self.token_secrets:
            assert secret not in text, "a Coder token has reached the provider"
