"""Variants of the product with other identity sources; each has the world's token in it."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace

from authz.core.tokens import parse
from authz.identity.open import make_store
from bench.processes import Watched
from bench.variants import Running, product
from bench.world import World
from tests.support.ports import free_port
from tests.support.postgres import running_server

_USER = "0d6ec7f4-9ea1-4d3c-8f0e-1f2e3d4c5b6a"


def postgresql(workers: int = 1) -> Callable[[World, str], Running]:
    """Return what starts the pair on a PostgreSQL server of its own, over a Unix socket."""

    def begin(world: World, name: str) -> Running:
        return _postgresql(world, name, workers)

    return begin


def _postgresql(world: World, name: str, workers: int) -> Running:
    server = world.stack.enter_context(running_server())
    database = server.database()
    url = server.url(database)
    asyncio.run(make_store(url))
    token = parse(world.token)
    assert token is not None
    server.sql(
        database,
        "INSERT INTO users (id, username, email, status, created_at, updated_at)"  # noqa: S608
        f" VALUES ('{_USER}', 'bench', '', 'active', now(), now())",
        "INSERT INTO api_keys (id, hashed_secret, user_id, expires_at, created_at, updated_at,"  # noqa: S608
        " login_type, lifetime_seconds, token_name)"
        f" VALUES ('{token.id}', '\\x{token.digest.hex()}', '{_USER}', now() + interval '1 day',"
        " now(), now(), 'token', 86400, 'bench')",
    )
    running = product(identity=url, authz={"workers": workers})(world, name)
    postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    processes = {**running.processes, "postgres": Watched(postmaster)}
    return replace(running, processes=processes)


def coder(world: World, name: str) -> Running:
    """Start the pair on a stand-in for Coder's API."""
    port = free_port()
    (world.folder / name).mkdir(exist_ok=True)
    world.start(name, "coder", [sys.executable, "-m", "bench.coder", str(port), world.token])
    return product(identity=f"http://127.0.0.1:{port}")(world, name)
