"""The refusal of a budget in the SDKs of Anthropic and OpenAI, with their default retries."""

import contextlib
from collections.abc import Callable, Iterator

import anthropic
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.check.responses import refusal
from authz.core.decision_types import refuse
from authz.core.providers import ErrorShape
from authz.core.refusals import Reason
from tests.support.threaded import served

_FIELDS = dict.fromkeys(("owner", "used", "limit", "period", "amount", "again"), "x")


def _ask_anthropic(url: str) -> None:
    with (
        anthropic.Anthropic(api_key="k", base_url=url) as client,
        pytest.raises(anthropic.RateLimitError, match="has no room for this request"),
    ):
        client.messages.create(
            model="m", max_tokens=1, messages=[{"role": "user", "content": "hello"}]
        )


def _ask_openai(url: str) -> None:
    with (
        openai.OpenAI(api_key="k", base_url=url) as client,
        pytest.raises(openai.RateLimitError, match="has no room for this request"),
    ):
        client.responses.create(model="m", input="hello")


@contextlib.contextmanager
def _refusing(shape: ErrorShape, asked: list[str]) -> Iterator[str]:
    answer = refusal(refuse(Reason.BUDGET_SPENT, _FIELDS, retry_after=1), shape, "id-1")

    async def respond(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(answer.body, answer.status, dict(answer.headers))

    app = Starlette(routes=[Route("/{path:path}", respond, methods=["POST"])])
    with served(app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("ask", "shape"),
    [(_ask_anthropic, ErrorShape.ANTHROPIC), (_ask_openai, ErrorShape.OPENAI)],
)
def test_an_sdk_does_not_repeat_the_request(ask: Callable[[str], None], shape: ErrorShape) -> None:
    """An SDK raises its rate limit error with our text after a single request."""
    asked: list[str] = []
    with _refusing(shape, asked) as url:
        ask(url)
    assert len(asked) == 1
