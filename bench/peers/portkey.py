"""Portkey's gateway. The open one checks no token: the client brings the provider's key itself.

Streams fail with 1.15.2 on Node.js 20.20 ("TypeError: immutable" in its own code), on both APIs
and with older servers of Hono as well; so it has no figures for them.
"""

import shutil
from pathlib import Path

from bench import message, upstream
from bench.install import npm
from bench.variants import Running
from bench.world import World
from tests.support.ports import free_port

_VERSION = "1.15.2"


def begin(world: World, name: str) -> Running:
    """Start it on Node.js."""
    folder = npm("portkey", f"@portkey-ai/gateway@{_VERSION}")
    program = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    port = free_port()
    node = shutil.which("node") or "node"
    (world.folder / name).mkdir(exist_ok=True)
    command: list[str | Path] = [node, program, f"--port={port}", "--headless"]
    proxy = world.start(name, "proxy", command, {"NODE_ENV": "production"})

    def ask(_token: str, streaming: bool) -> bytes:
        provider = message.STREAMING if streaming else message.PROVIDER
        headers = {
            "x-portkey-provider": "anthropic",
            "x-portkey-custom-host": f"{world.provider_url(provider)}/v1",
        }
        path = "/v1/messages"
        return message.request(
            upstream.CENTRAL_KEY, streaming=streaming, path=path, headers=headers
        )

    return Running(port, {"proxy": proxy}, ask=ask, detail=_VERSION)
