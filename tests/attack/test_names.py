"""Names that a provider or a client chooses, on an administrator's precheck."""

import csv
import io
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

ESCAPE = "claude\x1b[2J\x1b[1;1H\x9b2J"
FORGED = 'claude\nroot  9,999  0  9,999\r"} forged 1'
FORMULA = "\t=HYPERLINK(1)"
TURNED = "claude\u202e\u2028"
MODELS = (ESCAPE, FORGED, FORMULA, TURNED, "=1+1", "@sum", "m" * 5000)


async def _answer(request: Request) -> Response:
    usage = {"input_tokens": 3, "output_tokens": 4}
    model = MODELS[int((await request.json())["model"])]
    return JSONResponse({"type": "message", "content": [], "model": model, "usage": usage})


@pytest.fixture(scope="module")
def named() -> Iterator[Pair]:
    """A pair that was given an answer of each of the models' names."""
    app = Starlette(routes=[Route("/{rest:path}", _answer, methods=["POST"])])
    with served(app) as port, pair(start=False) as running:
        running.settings["providers"][0]["base_url"] = f"http://127.0.0.1:{port}/anthropic"
        running.start()
        running.create_user("alice")
        headers = {"x-api-key": running.create_token("alice")}
        for number in range(len(MODELS)):
            url = f"{running.url}/anthropic/v1/messages"
            assert httpx.post(url, headers=headers, json={"model": str(number)}).status_code == 200

        def is_written() -> bool:
            result = running.command("usage", "--by", "user", "-o", "json", check=False)
            return f'"requests": {len(MODELS)}' in result.stdout

        wait_until(is_written, 30, "every request having a row")
        yield running


def test_no_row_is_forged_on_a_terminal(named: Pair) -> None:
    """`authz usage` prints a line for each model, without any control character."""
    table = named.command("usage", "--by", "model").stdout
    assert table.count("\n") == 1 + len(MODELS)
    assert all(line.isprintable() for line in table.splitlines())


def test_no_cell_is_a_formula(named: Pair) -> None:
    """No CSV cell could be read as a formula, and there is a row for each model."""
    text = named.command("usage", "--by", "model", "-o", "csv").stdout
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == 1 + len(MODELS)
    assert not [row for row in rows if row[0].startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_no_label_is_forged(named: Pair) -> None:
    """A model is one bounded, printable label of a metric."""
    text = httpx.get(f"http://127.0.0.1:{named.http_port}/metrics").text
    lines = [line for line in text.split("\n") if line.startswith("gen_ai_client_token_usage_to")]
    assert len(lines) == 2 * len(MODELS)
    assert all(line.isprintable() and len(line) < 1000 for line in lines)


def test_no_log_line_is_forged(named: Pair) -> None:
    """Nothing that a client sends or a provider answers forges a line of either log."""
    before = len(named.stdout.split("\n"))
    for method, path in (("GET", "/%1B%5B2J%0Aforged%E2%80%AE"), ("FORGED", "/\x9b2J")):
        data = raw.request(method, path, [("user-agent", "\x9b2J"), ("x-request-id", "\x9b2J")])
        try:
            raw.ask(named.port, data)
        except raw.Closed:
            continue
    wait_until(lambda: len(named.stdout.split("\n")) > before, 15, "a line")
    for line in [*named.stdout.split("\n"), *named.stderr.split("\n")]:
        assert line.isprintable() or "\ufffd" in line
        assert not {"\x1b", "\x9b", "\u202e", "\u2028"} & set(line)
        assert "forged" not in line or line.startswith("{")
