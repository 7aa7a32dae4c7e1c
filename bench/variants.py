"""The variants that are compared: each takes a Coder token and sends the central key.

A further transport or setting of the pair is a file in ``fragments/``, a piece of ``gateway.yaml``
whose first line is a comment with the title. A competitor is one more function that starts it.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from authz.config.settings import Config
from authz.core.header_names import CREDENTIAL_HEADERS
from authz.envoy.filters import EXT_AUTHZ
from authz.envoy.render import render
from bench import message, responder, upstream
from bench.processes import Process, Watched
from bench.samples import BUSY, EVERYTHING, FIXED, STREAMS
from bench.world import World, wait_for_status
from tests.support.tokens import altered

_MUTATION = "envoy.filters.http.header_mutation"
_NO_TOOLS = {"PYTHONPATH": str(Path(__file__).parent / "absent")}
"""Hides from authz what only the tools of the tests bring along."""
_FRAGMENTS = Path(__file__).parent / "fragments"
_SECONDS, _PEER_SECONDS = 20.0, 90.0
"""The time that a variant may take to start; LiteLLM's imports alone take ten."""
_KEY_AUTH = "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth"


def _ask(token: str, streaming: bool) -> bytes:
    return message.request(token, streaming=streaming)


@dataclass(frozen=True)
class Running:
    """A variant that serves.

    Attributes:
        port: of its gateway listener.
        processes: those whose cost is the variant's own, children included: ``envoy`` or what
            stands in its place first, then those that it asks.
        ask: makes the request to it, from a token and whether it asks for a stream.
        detail: what the title does not say, such as the version.
    """

    port: int
    processes: Mapping[str, Watched]
    ask: Callable[[str, bool], bytes] = _ask
    detail: str = ""


@dataclass(frozen=True)
class Variant:
    """One way to do the job.

    Attributes:
        title: for the report.
        begin: starts it.
        refusal: its status for a token that it does not know; None if it checks none.
        peer: what a user would take instead: it may be missing, and may be too slow for a rate.
        parts: of the run that it takes part in; all of them for every variant take too long.
    """

    name: str
    title: str
    begin: Callable[[World, str], Running]
    refusal: int | None = 401
    peer: bool = False
    parts: frozenset[str] = EVERYTHING

    def start(self, world: World) -> Running:
        """Start it and return when it has shown that it does the job.

        Raises:
            BenchError: it does not.
        """
        running = self.begin(world, self.name)
        own = [process for process in running.processes.values() if isinstance(process, Process)]
        seconds = _PEER_SECONDS if self.peer else _SECONDS
        wait_for_status(running.port, running.ask(world.token, False), 200, own, seconds)
        if self.refusal is not None:
            message = running.ask(altered(world.token), False)
            wait_for_status(running.port, message, self.refusal, own, seconds)
        return running


def envoy_alone(**settings: Any) -> Callable[[World, str], Running]:
    """Return a function that starts Envoy alone: it sets the key itself and asks no service.

    Args:
        settings: a fragment of ``gateway.yaml``, merged into the benchmark's.
    """

    def begin(world: World, name: str) -> Running:
        config, _ = world.config(name, **settings)
        values = rendered(config)
        _set_key_statically(values)
        return Running(config.listen.port, {"envoy": world.start_envoy(name, values)})

    return begin


def native(world: World, name: str) -> Running:
    """Start the same with Envoy's own API-key filter, whose keys stand in its configuration."""
    config, _ = world.config(name)
    values = rendered(config)
    _set_key_statically(values)
    key_auth = {
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": _KEY_AUTH,
            "credentials": [{"key": world.token, "client": "bench"}],
            "key_sources": [{"header": "Authorization"}],
        },
    }
    filters = gateway_manager(values)["http_filters"]
    filters.insert([entry["name"] for entry in filters].index(_MUTATION), key_auth)
    return Running(config.listen.port, {"envoy": world.start_envoy(name, values)})


def canned(world: World, name: str, **settings: Any) -> Running:
    """Start the pair with an authz that reads nothing and always gives one answer.

    Args:
        settings: a fragment of ``gateway.yaml``, merged into the benchmark's.
    """
    config, _ = world.config(name, **settings)
    folder = world.folder / name
    command, language = responder.command(folder / "authz.sock", folder)
    authz = world.start(name, "authz", command)
    envoy = world.start_envoy(name, rendered(config))
    return Running(config.listen.port, {"envoy": envoy, "authz": authz}, detail=language)


def product(**settings: Any) -> Callable[[World, str], Running]:
    """Return what starts ``authz serve`` and Envoy with the rendered configuration.

    Args:
        settings: a fragment of ``gateway.yaml``, merged into the benchmark's.
    """

    def begin(world: World, name: str) -> Running:
        config, file = world.config(name, **settings)
        command: list[str | Path] = [sys.executable, "-m", "authz", "serve", "--config", file]
        authz = world.start(name, "authz", command, _NO_TOOLS)
        envoy = world.start_envoy(name, rendered(config))
        return Running(config.listen.port, {"envoy": envoy, "authz": authz})

    return begin


def with_providers(count: int) -> Callable[[World, str], Running]:
    """Return what starts the pair with so many providers, of which the last gets the requests."""

    def begin(world: World, name: str) -> Running:
        return product(providers=providers(world, count))(world, name)

    return begin


def providers(world: World, count: int) -> list[dict[str, Any]]:
    """Return the section of so many providers, of which the last gets the requests."""
    url = world.provider_url(message.PROVIDER)
    others = [
        {"name": f"other-{number}", "type": _OTHERS[number % len(_OTHERS)], "base_url": url}
        for number in range(1, count)
    ]
    key = {"file": str(world.folder / "central.key")}
    last = {"name": message.PROVIDER, "type": "anthropic", "base_url": url, "key": key}
    return [*others, last]


def fragments() -> tuple[Variant, ...]:
    """Return a variant of the pair for each file in ``fragments/``, by name."""
    return tuple(
        Variant(
            file.stem,
            file.read_text().partition("\n")[0].removeprefix("# "),
            product(**yaml.safe_load(file.read_text())),
            parts=_FRAGMENT_PARTS.get(file.stem, frozenset({BUSY})),
        )
        for file in sorted(_FRAGMENTS.glob("*.yaml"))
    )


BASELINE = "envoy"
PRODUCT = "authz"
LIMIT = "native"
FLOOR = "canned"
PLAIN = "naked"
WITHOUT_USAGE = "usage-off"
BASELINE_WITHOUT_USAGE = "envoy-usage-off"
SMALL = frozenset({BUSY, FIXED})
COUNTS = (1, 4, 20)
"""The numbers of providers."""
_FRAGMENT_PARTS = {WITHOUT_USAGE: EVERYTHING, "workers-2": SMALL}
_OTHERS = ("openai", "anthropic", "copilot")
CORE = (
    Variant(BASELINE, "Envoy alone, no authentication", envoy_alone(), refusal=None),
    Variant(LIMIT, "Envoy's own API-key filter", native, parts=SMALL | {STREAMS}),
    Variant(FLOOR, "Envoy and a canned answer", canned, None, parts=SMALL | {STREAMS}),
    Variant(PRODUCT, "Envoy and authz, SQLite", product()),
)
"""The variants that have targets."""


def _forget_filters_of_routes(value: Any) -> None:
    """Remove what routes say to filters, wherever routes are: in a list, or in a matcher tree."""
    if isinstance(value, dict):
        value.pop("typed_per_filter_config", None)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _forget_filters_of_routes(inner)


def rendered(config: Config) -> dict[str, Any]:
    """Return the rendered configuration with no part shared, as YAML's aliases would have it."""
    values: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(render(config))))
    return values


def _set_key_statically(values: dict[str, Any]) -> None:
    """Take ext_authz out, and let Envoy make the same changes to the headers itself."""
    manager = gateway_manager(values)
    filters = [entry for entry in manager["http_filters"] if entry["name"] != EXT_AUTHZ]
    manager["http_filters"] = filters
    _forget_filters_of_routes(manager["route_config"])
    mutation = next(entry for entry in filters if entry["name"] == _MUTATION)
    key = {"header": {"key": "x-api-key", "value": upstream.CENTRAL_KEY}}
    mutation["typed_config"]["mutations"]["request_mutations"] += [
        *({"remove": header} for header in CREDENTIAL_HEADERS if header != "x-api-key"),
        {"append": {**key, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}},
    ]


def gateway_manager(values: dict[str, Any]) -> dict[str, Any]:
    """Return the connection manager of the gateway's listener, to change it."""
    listeners = {listener["name"]: listener for listener in values["static_resources"]["listeners"]}
    chain = listeners["gateway"]["filter_chains"][0]
    manager: dict[str, Any] = chain["filters"][0]["typed_config"]
    return manager
