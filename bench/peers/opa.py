"""Envoy with OPA: its engine behind a gRPC service in Go, and a policy that looks the token up.

The Go module proxy has neither OPA's own Envoy plugin nor Authorino here. ``programs/opa`` does
what the plugin does for a check, less its decision log, its metrics and its bundles.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from authz.envoy.filters import EXT_AUTHZ
from bench import message, upstream
from bench.install import go
from bench.variants import Running, gateway_manager, rendered
from bench.world import World

_SOURCE = Path(__file__).parent / "programs" / "opa"


def begin(world: World, name: str) -> Running:
    """Start the server, and Envoy with our configuration, which asks it."""
    program = go("opa", _SOURCE)
    config, _ = world.config(name, usage={"enabled": False})
    folder = world.folder / name
    data = folder / "data.json"
    digest = hashlib.sha256(world.token.encode()).hexdigest()
    keys = dict.fromkeys((message.PROVIDER, message.STREAMING), upstream.CENTRAL_KEY)
    data.write_text(json.dumps({"tokens": {digest: "bench"}, "keys": keys}))
    command: list[str | Path] = [program, folder / "authz.sock", _SOURCE / "policy.rego", data]
    # One core, as each other variant has for its authenticator.
    opa = world.start(name, "opa", command, {"GOMAXPROCS": "1"})
    values = rendered(config)
    _send_headers_as_text(values)
    envoy = world.start_envoy(name, values)
    version = next(
        line.split()[1]
        for line in (_SOURCE / "go.mod").read_text().splitlines()
        if "/open-policy-agent/opa " in line
    )
    return Running(config.listen.port, {"envoy": envoy, "opa": opa}, detail=version)


def _send_headers_as_text(values: dict[str, Any]) -> None:
    """Give OPA the headers as the map that policies read."""
    filters = gateway_manager(values)["http_filters"]
    ext_authz = next(entry for entry in filters if entry["name"] == EXT_AUTHZ)
    ext_authz["typed_config"].pop("encode_raw_headers", None)
