"""A receiver of notices: a real HTTP server on loopback."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """The receiver.

    Attributes:
        statuses: of the next answers; 204 when there are no more.
        got: the headers and the body of each request.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Note a request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, await request.read()))
        status = self.statuses.pop(0) if self.statuses else 204
        location = {"location": f"{self.url}/elsewhere"} if status == 302 else {}
        return web.Response(status=status, headers=location)

    @property
    def ids(self) -> list[str]:
        """The ids of the notices that arrived, in order."""
        return [headers["webhook-id"] for headers, _ in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything."""
    one = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    one.url = f"http://{host}:{port}/hook"
    yield one
    await runner.cleanup()
