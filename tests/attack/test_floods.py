"""Work that callers without a token cause: at the identity source, in the log, for a good token."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator

import pytest
import yaml

from authz.identity.bad_tokens import A_SECOND, BURST
from authz.identity.open import make_store
from tests.support import raw
from tests.support.canned import BUILD_INFO, USERS_ME
from tests.support.coder import Coder
from tests.support.flood import INVENTED, flooded, served
from tests.support.pair import Pair, Provider, free_port, pair
from tests.support.postgres import running_server
from tests.support.requests import MODELS

WORKERS = 2
PROXY = free_port()
QUIET, UNDER_FLOOD = 20, 60
"""The good token's requests; those under the flood take longer than one wave of it."""
ROUNDS = 12
"""The most rounds. Four were too few beside other processes, which took the machine in each."""
NOISE_SECONDS = 0.001
"""Added to twice the median of the quiet machine, because the process that floods runs on the same
cores as the gateway. Floods that are not delayed add 4 to 250 ms. Where other processes take the
machine, and a request takes longer without a flood too, as much as that is added."""

_SIGN_IN = raw.request(
    "POST",
    "/api/v2/users/login",
    [("content-type", "application/json"), ("sec-fetch-site", "same-origin")],
    b'{"email":"nobody@example.com","password":"wrong horse"}',
)
FLOODS = {
    "healthz": raw.request("GET", "/healthz"),
    "readyz": raw.request("GET", "/readyz"),
    "sign-in page": raw.request("GET", "/ui/sign-in"),
    "front page": raw.request("GET", "/", [("accept", "text/html")]),
    "buildinfo": raw.request("GET", "/api/v2/buildinfo"),
    "sign-in": _SIGN_IN,
    "API token": raw.request("GET", "/api/v2/users/me", [("coder-session-token", INVENTED)]),
    "no token": raw.request("GET", MODELS["anthropic"]),
    "invented tokens": raw.request("GET", MODELS["anthropic"], [("x-api-key", INVENTED)]),
    "CONNECT": raw.request("CONNECT", "api.anthropic.com:443"),
}
ASKING = ("readyz", "buildinfo", "sign-in", "API token", "invented tokens")
"""The floods that may cost work at the identity source. The others run with one source only."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "coder"])
def source(request: pytest.FixtureRequest) -> Iterator[tuple[str, Coder | None]]:
    """The URL of an identity source of each kind."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            yield "sqlite:///./identity.db", None
        elif request.param == "postgresql":
            server = stack.enter_context(running_server())
            yield server.url(server.database()), None
        else:
            coder = stack.enter_context(Coder().running())
            yield coder.url, coder


@pytest.fixture(scope="module")
def attacked(
    source: tuple[str, Coder | None], provider: Provider
) -> Iterator[tuple[Pair, str, Coder | None]]:
    """A pair with two workers and the proxy, and a good token."""
    url, coder = source
    with pair(provider, start=False, identity=url) as running:
        running.settings["authz"]["workers"] = WORKERS
        running.settings["proxy"] = {"listen": f"127.0.0.1:{PROXY}"}
        if coder is None:
            asyncio.run(make_store(url.replace("sqlite:///.", f"sqlite:///{running.folder}")))
            running.create_user("alice")
        (running.folder / "gateway.yaml").write_text(yaml.safe_dump(running.settings))
        running.command("proxy", "ca")
        running.start()
        if coder is None:
            token = running.create_token("alice")
        else:
            coder.state.create_user("alice")
            token = coder.state.create_key("alice")
        yield running, token, coder


@pytest.mark.parametrize("name", ASKING)
async def test_a_flood_harms_no_good_token(
    attacked: tuple[Pair, str, Coder | None], name: str
) -> None:
    """A flood on 400 connections without a token hardly delays the requests of a good token."""
    await _flood(attacked, name)


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", [name for name in FLOODS if name not in ASKING])
async def test_a_flood_that_asks_no_source(
    attacked: tuple[Pair, str, Coder | None], name: str
) -> None:
    """A good token is served almost as fast under a flood that needs no identity source."""
    await _flood(attacked, name)


async def _flood(attacked: tuple[Pair, str, Coder | None], name: str) -> None:
    running, token, coder = attacked
    port = PROXY if name == "CONNECT" else running.port
    excess: list[float] = []
    # Quiet and flooded in turn, as other processes may take the machine at any time. One round
    # without them is enough: a flood that takes the machine does so in each.
    while len(excess) < ROUNDS:
        quiet = await served(running.port, token, QUIET)
        if coder is not None:
            coder.calls.clear()
        log = len(running.stderr)
        began = time.monotonic()
        with flooded(port, FLOODS[name]) as statuses:
            under_flood = await served(running.port, token, UNDER_FLOOD)
        took = time.monotonic() - began
        print(
            f"\n{os.path.basename(running.identity).split('&')[0]} {name}: "
            f"quiet {quiet.median * 1000:.1f} ms, flood {under_flood.median * 1000:.1f} ms, "
            f"ratio {under_flood.median / quiet.median:.1f}, {dict(statuses)}"
        )
        assert set(quiet.statuses) == set(under_flood.statuses) == {200}
        if coder is not None:
            assert coder.calls[BUILD_INFO] <= WORKERS * (took + 2)
            # The good token's own, and what the flood may cost.
            assert coder.calls[USERS_ME] <= UNDER_FLOOD + WORKERS * (BURST + A_SECOND * (took + 2))
        lines = running.stderr[log:].splitlines()
        assert len(lines) <= WORKERS * (200 + 100 * (took + 2)), lines[-3:]
        noise = max(NOISE_SECONDS, quiet.median)
        excess.append(under_flood.median - 2 * quiet.median - noise)
        if excess[-1] <= 0:
            break
    assert min(excess) <= 0
