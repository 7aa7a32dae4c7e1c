"""Codex's first answer over a WebSocket, compared with HTTP; run by ``make test-clients``."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from authz.clients.catalog import clients
from tests.clients.headless import codex_lines
from tests.clients.installing import Installed, install
from tests.clients.running import Ran, run
from tests.e2e.proxy.pairs import Proxied
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, pair
from tests.support.requests import CREDENTIAL_HEADERS, leaks

TIMES = 3
SLOWER = 3.0
"""Seconds that a busy machine may add; a Codex that tries in vain takes six more."""
SOCKETLESS = "openai-http"
ANSWER = "Hello from the stand-in provider. Credential: "
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def codex() -> Installed:
    """Codex itself."""
    return install(clients()["codex"])


@pytest.fixture(scope="module")
def gateway() -> Iterator[Proxied]:
    """A pair with the provider twice: with its WebSockets, and with ``websocket: false``."""
    with pair(start=False) as running:
        providers = running.settings["providers"]
        (openai,) = [provider for provider in providers if provider["name"] == "openai"]
        providers.append({**openai, "name": SOCKETLESS, "websocket": False})
        running.start()
        running.create_user("alice")
        yield Proxied(running, Path(), running.create_token("alice"))


def _run(
    gateway: Proxied,
    codex: Installed,
    *,
    sockets: bool,
    provider: str = "openai",
    own: bool = False,
) -> Ran:
    lines = codex_lines(f"{gateway.pair.url}/{provider}/v1", sockets=sockets, own=own)
    gateway.provider.take()
    mode = "byok" if own else "centralized"
    ran = run("codex", lines, codex, gateway, gateway.token, mode)
    assert ran.status == 0, str(ran)
    assert f"{ANSWER}{mode}" in ran.output, str(ran)
    return ran


def _methods(gateway: Proxied, right: str) -> list[str]:
    """Return the methods of the provider's requests, after a check of their credentials."""
    methods = []
    for seen in gateway.provider.take():
        credentials = [header for header in seen.headers if header[0] in CREDENTIAL_HEADERS]
        assert credentials == [("authorization", f"Bearer {right}")]
        assert leaks(seen, [gateway.token.partition("-")[2]]) == []
        socket = seen.all("upgrade") == ["websocket"]
        methods.append("WebSocket" if socket else seen.method)
    return methods


@pytest.mark.parametrize("own", [False, True], ids=["centralized", "byok"])
def test_an_answer_over_a_websocket(gateway: Proxied, codex: Installed, own: bool) -> None:
    """Codex opens one WebSocket, with one right credential, and gets its answer over it."""
    _run(gateway, codex, sockets=True, own=own)
    right = (OWN_KEYS if own else CENTRAL_KEYS)["openai"]
    assert _methods(gateway, right) == ["WebSocket"]


def test_a_provider_without_websockets(gateway: Proxied, codex: Installed) -> None:
    """Codex is refused at its first try and uses HTTP; the provider sees nothing of the try."""
    _run(gateway, codex, sockets=True, provider=SOCKETLESS)
    assert _methods(gateway, CENTRAL_KEYS["openai"]) == ["POST"]


def test_websockets_cost_no_time(gateway: Proxied, codex: Installed) -> None:
    """An answer with WebSockets on takes no longer than with them off, refused ones included."""
    ways: dict[str, tuple[bool, str]] = {
        "off": (False, "openai"),
        "on": (True, "openai"),
        "on, refused": (True, SOCKETLESS),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(TIMES):
        # In turn, so that whatever else the machine does slows all of them.
        for way, (sockets, provider) in ways.items():
            ran = _run(gateway, codex, sockets=sockets, provider=provider)
            seconds[way].append(ran.seconds)
    medians = {way: median(found) for way, found in seconds.items()}
    print(f"codex, WebSockets: {', '.join(f'{way} {took:.2f} s' for way, took in medians.items())}")
    assert medians["on"] < medians["off"] + SLOWER
    assert medians["on, refused"] < medians["off"] + SLOWER
