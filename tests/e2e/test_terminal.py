"""``authz up`` on a terminal: a line for each request, and secrets shown only there."""

import re
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support import raw
from tests.support.pair import Pair, pair, wait_until
from tests.support.threaded import served

TOKEN = re.compile(r"^  export CODER_TOKEN=([0-9A-Za-z]{10}-[0-9A-Za-z]{22})$", re.MULTILINE)
LINE = re.compile(r"(?:[A-Z]+|-) \S+ \d{1,3} \S+ \S+ \d+ ms")
MODELS = ("claude-x", "m\nGET /forged 200 root m 1 ms", "m\x1b[2J", "m 200 root", "m" * 500, "")


async def _answer(request: Request) -> Response:
    usage = {"input_tokens": 3, "output_tokens": 4}
    model = MODELS[int((await request.json())["model"])]
    return JSONResponse({"type": "message", "content": [], "model": model, "usage": usage})


@pytest.fixture(scope="module")
def shown() -> Iterator[Pair]:
    """A pair in its first start, on a terminal."""
    app = Starlette(routes=[Route("/{rest:path}", _answer, methods=["POST"])])
    with served(app) as port, pair(start=False) as running:
        running.settings["providers"][0]["base_url"] = f"http://127.0.0.1:{port}/anthropic"
        running.on_terminal = True
        running.start()
        yield running


def _requests(running: Pair) -> list[str]:
    return running.stdout.partition("open streams finish first.\n")[2].splitlines()


def _token(running: Pair) -> str:
    found = TOKEN.search(running.stdout)
    assert found is not None, running.stdout
    return found[1]


def _post(running: Pair, model: str) -> int:
    headers = {"x-api-key": _token(running)}
    url = f"{running.url}/anthropic/v1/messages"
    return httpx.post(url, headers=headers, json={"model": model}).status_code


def test_the_first_secrets_are_on_the_terminal(shown: Pair) -> None:
    """The token and the administrator's link are shown on the terminal, and are in no file."""
    assert _post(shown, "0") == 200
    # The next test counts the lines that come after this one.
    wait_until(lambda: _requests(shown), 15, "its line")
    assert re.search(r"^  http://\S+/ui/first-administrator#\S+$", shown.stdout, re.MULTILINE)
    assert not list(shown.folder.glob("first-token-*"))
    assert not list(shown.folder.glob("first-administrator-link-*"))


def test_a_request_is_one_short_line(shown: Pair) -> None:
    """A line has method, path, status, user, model and duration; health checks have none."""
    before = len(_requests(shown))
    assert httpx.get(f"{shown.url}/readyz").status_code == 200
    assert _post(shown, "0") == 200
    assert httpx.get(f"{shown.url}/anthropic/v1/models?x=1").status_code == 401
    wait_until(lambda: len(_requests(shown)) >= before + 2, 15, "two lines")
    # Each thread of Envoy's writes its own lines, so they may come in either order.
    second, first = sorted(_requests(shown)[before:])
    assert re.fullmatch(r"POST /anthropic/v1/messages 200 admin claude-x \d+ ms", first)
    assert re.fullmatch(r"GET /anthropic/v1/models 401 - - \d+ ms", second)


def test_the_start_leaves_no_line(shown: Pair) -> None:
    """The readiness requests of `authz up` itself are not shown."""
    before, _, after = shown.stdout.partition("The gateway is up")
    assert before == ""
    lines = after.splitlines()
    assert not [line for line in lines if "readyz" in line or line.startswith("GET / ")]


def test_no_line_is_forged(shown: Pair) -> None:
    """A request is one line of the same number of words, whatever its path, method and model."""
    before = len(_requests(shown))
    for number in range(len(MODELS)):
        assert _post(shown, str(number)) == 200
    paths = (
        "/a%20200%20root%20m%201%20ms",
        "/%0AGET%20/forged",
        "/%1B[2J%E2%80%A8x",
        "/" + "x" * 999,
    )
    for path in paths:
        assert raw.ask(shown.port, raw.request("GET", path)).status in (400, 401)
    for method in ("B\x9bD", "B\x1bD"):
        try:
            raw.ask(shown.port, raw.request(method, "/anthropic/v1/models"))
        except raw.Closed:
            continue

    def lines_of(*methods: str) -> list[str]:
        return [line for line in _requests(shown)[before:] if line.startswith(methods)]

    # Lines of Envoy's threads come in any order, and some requests with odd methods have one too.
    wait_until(lambda: len(lines_of("POST")) >= len(MODELS), 15, "a line for each")
    wait_until(lambda: len(lines_of("GET", "-")) >= len(paths), 15, "a line for each path")
    lines = _requests(shown)[before:]
    assert not [line for line in lines if not LINE.fullmatch(line)]
    assert all(line.isprintable() or "\ufffd" in line for line in lines)
    assert not {"\x1b", "\x9b", "\u2028"} & set(shown.stdout)
    assert len(lines_of("POST")) == len(MODELS)
