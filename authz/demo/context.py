"""Provide the context of a request to the stand-in."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from authz.demo.accounts import Credential
from authz.demo.script import Script, compose

Composer = Callable[["RequestContext", str, str, bool], Script]
"""Takes the context, the model, the prompt, and whether to stream. Returns the response's text."""


def _compose(context: "RequestContext", _model: str, prompt: str, _stream: bool) -> Script:
    return compose(context.credential, prompt, context.chunk_delay)


@dataclass(frozen=True)
class RequestContext:
    """The context of a request with an accepted credential.

    Attributes:
        provider_type: the API family, which decides the format of errors.
        request_id: the id in the response's headers and errors.
        credential: the accepted credential.
        chunk_delay: seconds between two pieces of a streamed response.
        composer: writes the text of responses.
    """

    provider_type: str
    request_id: str
    credential: Credential
    chunk_delay: float
    composer: Composer = _compose

    def compose(self, model: str, prompt: str, *, stream: bool) -> Script:
        """Return the text of a response.

        Args:
            model: the model that the request names.
            prompt: the last text of the user.
            stream: the client asked for a stream.
        """
        return self.composer(self, model, prompt, stream)


def request_context(request: Request) -> RequestContext:
    """Return the context that ``CredentialMiddleware`` stored in the request."""
    context: RequestContext = request.state.context
    return context


def new_id(prefix: str) -> str:
    """Return a new identifier such as `msg_5f…`."""
    return f"{prefix}_{secrets.token_hex(12)}"
