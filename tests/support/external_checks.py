"""Checks as sent by Envoys that authz does not configure, without Envoy."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from authz.config.external_gateways import Secrets
from authz.config.settings import Config
from authz.external.reader import ExternalReader
from authz.pb import ext_authz_pb2
from authz.pb import external_check_pb2 as pb
from authz.secret import Secret

SECRET = "external-secret-0123456789abcdef0123"
MARK = "m" * 64
ANTHROPIC = "ai/anthropic"
OPENAI = "ai/openai"
COPILOT = "ai/copilot"

ROUTES: list[dict[str, str]] = [
    {"httproute": ANTHROPIC, "path": "/anthropic", "provider": "anthropic"},
    {"httproute": OPENAI, "path": "/llm/openai", "provider": "openai"},
    {"httproute": COPILOT, "path": "/copilot", "provider": "copilot"},
    {"host": "llm.example.com", "path": "/openai", "provider": "openai"},
    {"host": "anthropic.example.com", "path": "/", "provider": "anthropic"},
]


def external_config(**settings: Any) -> Config:
    """Return a configuration with the routes above."""
    external = {"routes": ROUTES, "secret": {"env": "UNUSED"}, "envoy_secret": {"env": "UNUSED_2"}}
    return Config.model_validate({"external_gateways": external, **settings})


def external_reader(config: Config | None = None) -> ExternalReader:
    """Return the reader of that configuration, with the secrets above."""
    return ExternalReader(config or external_config(), Secrets(Secret(SECRET), MARK))


def resources(*routes: str, kind: str = "HTTPRoute") -> bytes:
    """Return a route's metadata as Envoy Gateway sends them, for ``NAMESPACE/NAME`` of each."""
    struct = Struct()
    struct.update(
        {
            "resources": [
                {"kind": kind, "namespace": one.partition("/")[0], "name": one.partition("/")[2]}
                for one in routes
            ]
        }
    )
    metadata = pb.Metadata()
    metadata.filter_metadata["envoy-gateway"].CopyFrom(struct)
    return metadata.SerializeToString()


def external_question(
    headers: Iterable[tuple[str, str]] = (),
    *,
    method: str = "POST",
    path: str = "/anthropic/v1/messages",
    host: str = "gw.example",
    httproute: str | None = ANTHROPIC,
    context: Mapping[str, str] | None = None,
    metadata: bytes | None = None,
    without: Iterable[str] = (),
    shuffled: random.Random | None = None,
    raw: bool = False,
) -> bytes:
    """Return a serialized check as an external gateway sends it.

    Args:
        headers: beside those that Envoy adds.
        httproute: of the route's metadata; None for a gateway that sends none.
        metadata: in place of those for ``httproute``.
        without: names of headers to leave out.
        shuffled: puts the entries of each map into another order.
        raw: send raw headers, as a patched gateway does.
    """
    check = pb.CheckRequest()
    http = check.attributes.request.http
    http.method, http.path, http.host = method, path, host
    every = {
        ":method": method,
        ":path": path,
        ":authority": host,
        ":scheme": "http",
        "x-forwarded-for": "192.0.2.2",
        "x-forwarded-proto": "http",
        "x-envoy-external-address": "127.0.0.1",
        "x-request-id": "8a2c1b1a-1111-4111-8111-111111111111",
        "user-agent": "t",
        **dict(headers),
    }
    entries = [(name, value) for name, value in every.items() if name not in set(without)]
    facts = list((context or {}).items())
    if shuffled is not None:
        shuffled.shuffle(entries)
        shuffled.shuffle(facts)
    for name, value in entries:
        if raw:
            field = ext_authz_pb2.HeaderValue(key=name, raw_value=value.encode())
            http.header_map.headers.append(field.SerializeToString())
        else:
            entry = pb.HeaderEntry(key=name, value=value).SerializeToString()
            # As an entry of a map is written.
            http.headers.append(entry if value else entry + b"\x12\0")
    for name, value in facts:
        fact = ext_authz_pb2.ContextExtension(key=name, value=value)
        check.attributes.context_extensions.append(fact.SerializeToString())
    if metadata is None and httproute is not None:
        metadata = resources(httproute)
    if metadata is not None:
        check.attributes.route_metadata_context = metadata
    return check.SerializeToString()
