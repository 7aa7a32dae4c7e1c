"""Programs served by uvicorn in an environment of their own, and the reverse proxies of Python."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bench import upstream
from bench.install import venv
from bench.processes import Process
from bench.variants import Running
from bench.world import World
from tests.support.ports import free_port

_PROGRAMS = Path(__file__).parent / "programs"
REQUIREMENTS = Path(__file__).parent / "requirements"


def uvicorn(
    world: World, variant: str, name: str, program: str, where: list[str | Path], **more: str
) -> Process:
    """Start one of the programs with one worker, on uvloop and httptools.

    Args:
        where: options that say what to listen on.
        more: environment variables, beside the token and the key.
    """
    environment = venv("python", REQUIREMENTS / "python.txt")
    command: list[str | Path] = [environment / "bin" / "uvicorn", "--app-dir", _PROGRAMS]
    options = ["--no-access-log", "--log-level", "warning", "--loop", "uvloop"]
    command += [f"{program}:app", *options, "--http", "httptools", *where]
    return world.start(variant, name, command, secrets(world) | more)


def secrets(world: World) -> dict[str, str]:
    """Return the environment variables with the token to accept and the key to put in."""
    return {"BENCH_TOKEN": world.token, "BENCH_CENTRAL_KEY": upstream.CENTRAL_KEY}


def reverse_proxy(client: str) -> Callable[[World, str], Running]:
    """Return what starts the reverse proxy with this HTTP client: ``httpx`` or ``aiohttp``."""

    def begin(world: World, name: str) -> Running:
        port = free_port()
        providers: Mapping[str, str] = {
            "BENCH_CLIENT": client,
            "BENCH_PROVIDER": world.provider_url("anthropic"),
            "BENCH_STREAMING_PROVIDER": world.provider_url("streaming"),
        }
        where: list[str | Path] = ["--host", "127.0.0.1", "--port", str(port)]
        proxy = uvicorn(world, name, "proxy", "reverse_proxy", where, **providers)
        return Running(port, {"proxy": proxy})

    return begin
