"""A provider that takes no credential, on its own host: no credential opens its other paths."""

from collections.abc import Iterator

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support import raw
from tests.support.pair import Pair, free_port, pair
from tests.support.raw import Headers
from tests.support.threaded import served
from tests.support.tls import Connect, credentials, trusting

HOST = "model.test"


async def _show(request: Request) -> Response:
    return JSONResponse({"path": request.url.path})


@pytest.fixture(scope="module")
def local() -> Iterator[Pair]:
    """A proxy in front of a model that answers everybody on every path."""
    methods = ["GET", "POST", "PUT", "DELETE"]
    app = Starlette(routes=[Route("/{rest:path}", _show, methods=methods)])
    with served(app) as port:
        one = {
            "name": "local",
            "type": "openai-compat",
            "base_url": f"http://127.0.0.1:{port}/v1",
            "public_url": f"https://{HOST}/v1",
            "key": "none",
        }
        files = {"cert_file": "ca.pem", "key_file": "ca-key.pem"}
        settings = {"listen": f"127.0.0.1:{free_port()}", "ca": files}
        with pair(providers=[one], proxy=settings, start=False) as running:
            (running.folder / "gateway.yaml").write_text(yaml.safe_dump(running.settings))
            running.command("proxy", "ca")
            running.start()
            running.create_user("alice")
            yield running


@pytest.fixture
def inside(local: Pair) -> Iterator[Connect]:
    """A tunnel of alice to the model's host, with TLS on."""
    port = int(local.settings["proxy"]["listen"].rpartition(":")[2])
    token = local.create_token("alice")
    with Connect(port, f"{HOST}:443", credentials(token)) as connection:
        connection.start_tls(trusting(local.folder / "ca.pem"), HOST)
        yield connection


def test_listed_path(inside: Connect) -> None:
    """A listed path is served with nothing but the Coder token of the tunnel."""
    answer = inside.ask(raw.request("POST", "/v1/chat/completions", [], b"{}", host=HOST))
    assert answer.status == 200, answer


@pytest.mark.parametrize(
    "headers", [[], [("authorization", "Bearer anything")], [("apikey", "anything")]]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/api/delete"), ("POST", "/api/pull"), ("GET", "/metrics"), ("POST", "/v1/files")],
)
def test_rest_of_the_host(inside: Connect, method: str, path: str, headers: Headers) -> None:
    """An unchecked value is not a credential: all unlisted paths of such a host are a 404."""
    body = b"{}" if method == "POST" else b""
    answer = inside.ask(raw.request(method, path, headers, body, host=HOST))
    assert answer.status == 404, answer
