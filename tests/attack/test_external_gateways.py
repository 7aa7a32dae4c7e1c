"""The author of an HTTPRoute in another namespace tries to get the central key."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import raw
from tests.support.external_envoys import (
    HOST,
    NAMESPACE,
    ExternalGateways,
    configuration,
    external_gateways,
)
from tests.support.pair import CENTRAL_KEYS, Provider, stand_in

SECRET = "shared-secret-0123456789abcdef0123456789"
BODY = b'{"model":"m","max_tokens":8,"messages":[{"role":"user","content":"Hello"}]}'
FACTS = {"provider": "anthropic", "supported": "true"}
_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"

Config = dict[str, Any]


def _resources(*names: tuple[str, str], kind: str = "HTTPRoute") -> list[dict[str, str]]:
    return [{"kind": kind, "namespace": space, "name": name} for space, name in names]


EVIL = ("evil", "anthropic")
OWNER = (NAMESPACE, "anthropic")
ATTACKS: dict[str, tuple[list[dict[str, str]], dict[str, str], bool]] = {
    "a name of its own": (_resources(("evil", "mine")), {}, False),
    "the same name": (_resources(EVIL), {}, False),
    "another kind": (_resources(OWNER, kind="GRPCRoute"), {}, False),
    "two routes": (_resources(OWNER, EVIL), {}, False),
    "a provider in the context": (_resources(EVIL), FACTS, False),
    "no metadata, a provider in the context": ([], FACTS | {"path": "/evil"}, False),
    "no metadata, a guessed secret": (
        [],
        {"provider": "anthropic", "path": "/evil", "secret": SECRET[:-1]},
        False,
    ),
    "no metadata, an empty secret": (
        [],
        {"provider": "anthropic", "path": "/evil", "secret": ""},
        False,
    ),
    "no metadata, nothing at all": ([], {}, False),
    "facts of our own Envoy": ([], FACTS | {"base_url": "BASE_URL"}, False),
    "facts of our own Envoy, raw": ([], FACTS | {"base_url": "BASE_URL"}, True),
    "facts and a mark, raw": (
        [],
        FACTS | {"base_url": "BASE_URL", "routes": "0" * 64},
        True,
    ),
    "facts and metadata, raw": (_resources(EVIL), FACTS | {"base_url": "BASE_URL"}, True),
    "authz's own pages, raw": ([], {"kind": "own"}, True),
    "a tunnel, raw": ([], {"kind": "connect"}, True),
}
"""Each attack: metadata of the route, ``context_extensions``, and whether headers are raw.

The author chooses the context in a SecurityPolicy. Metadata come from Envoy Gateway itself; raw
headers only from an administrator who has patched the filter of every policy.
"""


def _attacked(number: int, name: str, base_url: str, evil_port: int) -> tuple[Config, Config]:
    """Return a filter and a route of the author's."""
    metadata, context, is_raw = ATTACKS[name]
    facts = {key: value.replace("BASE_URL", base_url) for key, value in context.items()}
    filter_name = f"envoy.filters.http.ext_authz//evil/{number}"
    ext_authz: Config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": f"/{NAMESPACE}/authz-anthropic/extauth/0"},
            "timeout": "2s",
        },
        "transport_api_version": "V3",
        "encode_raw_headers": is_raw,
        "route_metadata_context_namespaces": ["envoy-gateway"],
    }
    route: Config = {
        "name": name,
        "match": {"path_separated_prefix": f"/evil{number}"},
        "route": {
            "cluster": "evil",
            "regex_rewrite": {
                "pattern": {"regex": f"^/evil{number}"},
                "substitution": "/anthropic",
            },
        },
        "typed_per_filter_config": {
            filter_name: {"@type": _PER_ROUTE, "check_settings": {"context_extensions": facts}}
        },
    }
    if metadata:
        route["metadata"] = {"filter_metadata": {"envoy-gateway": {"resources": metadata}}}
    return {"name": filter_name, "typed_config": ext_authz, "disabled": True}, route


def _config(base_url: str, evil: str) -> str:
    config: Config = json.loads(configuration("envoy-gateway"))
    resources = config["static_resources"]
    port = int(evil.rpartition(":")[2])
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    resources["clusters"].append(
        {
            "name": "evil",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "evil",
                "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
            },
        }
    )
    chain = resources["listeners"][0]["default_filter_chain"]
    manager = chain["filters"][0]["typed_config"]
    for number, name in enumerate(ATTACKS):
        added, route = _attacked(number, name, base_url, port)
        manager["http_filters"].insert(0, added)
        manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, route)
    return json.dumps(config)


def _recomputing(config: str) -> str:
    """Return a gateway that chooses the route again after the check (``recomputeRoute: true``).

    The author's route takes what the owner's route takes, with the header that authz sets.
    """
    changed: Config = json.loads(config)
    chain = changed["static_resources"]["listeners"][0]["default_filter_chain"]
    manager = chain["filters"][0]["typed_config"]
    for one in manager["http_filters"]:
        if "authz-anthropic" in one["name"]:
            one["typed_config"]["clear_route_cache"] = True
    is_central = {"name": "x-api-key", "string_match": {"prefix": "sk-ant-"}}
    route: Config = {
        "match": {"path_separated_prefix": "/anthropic", "headers": [is_central]},
        "route": {"cluster": "evil"},
        "metadata": {"filter_metadata": {"envoy-gateway": {"resources": _resources(EVIL)}}},
    }
    manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, route)
    return json.dumps(changed)


@pytest.fixture(scope="module")
def evil() -> Iterator[Provider]:
    """The author's own backend, which accepts every request."""
    with stand_in() as running:
        yield running


@pytest.fixture(scope="module")
def running(
    provider: Provider, evil: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExternalGateways]:
    """A gateway with the routes of the owner and of the author."""
    folder = tmp_path_factory.mktemp("secrets")
    for name, text in (("secret", SECRET), ("envoy", "e" * 40)):
        (folder / name).write_text(text)
    external = {
        "routes": [
            {"httproute": "/".join(OWNER), "path": "/anthropic", "provider": "anthropic"},
            *(
                {"host": "istio.test", "path": f"/evil{number}", "provider": "anthropic"}
                for number in range(len(ATTACKS))
            ),
        ],
        "secret": {"file": str(folder / "secret")},
        "envoy_secret": {"file": str(folder / "envoy")},
    }
    base_url = f"{provider.server.url}/anthropic"
    config = _config(base_url, evil.server.url)
    configs = {"gateway": (config, None), "recomputing": (_recomputing(config), None)}
    with external_gateways(provider, configs, external_gateways=external) as started:
        yield started


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=list(ATTACKS))
def test_the_author_gets_no_key(running: ExternalGateways, evil: Provider, number: int) -> None:
    """None of the author's routes reaches its backend: authz refuses before the token is used."""
    token = running.create_token("alice")
    evil.take()
    for path in (f"/evil{number}/v1/messages", f"/evil{number}/anthropic/v1/messages"):
        for host in (HOST, "istio.test") if ATTACKS[list(ATTACKS)[number]][1] else (HOST,):
            headers = [("x-api-key", token)]
            answer = raw.ask(
                running.ports["gateway"],
                raw.request("POST", path, headers, BODY, host=host),
                timeout=30,
            )
            assert answer.status == 503
            assert CENTRAL_KEYS["anthropic"].encode() not in answer.whole
    assert evil.take() == []


def test_a_host_proves_nothing(running: ExternalGateways, evil: Provider) -> None:
    """A binding by host trusts everyone who may add a route for that host.

    This is not an attack on authz: such a check does not say whose route it is. So hosts are for
    gateways whose hosts belong to one namespace, and any other host is refused as usual.
    """
    token = running.create_token("alice")
    path = f"/evil{list(ATTACKS).index('no metadata, nothing at all')}/v1/messages"
    evil.take()
    for host, status in ((HOST, 503), ("istio.test", 200)):
        data = raw.request("POST", path, [("x-api-key", token)], BODY, host=host)
        assert raw.ask(running.ports["gateway"], data, timeout=30).status == status
    (visit,) = evil.take()
    assert visit.all("x-api-key") == [CENTRAL_KEYS["anthropic"]]


def test_a_route_that_is_chosen_again(running: ExternalGateways, evil: Provider) -> None:
    """A gateway that chooses the route again after the check finds no route, so no key is misled.

    authz can't see `recomputeRoute`. But Envoy matches no route without `X-Forwarded-Proto`, which
    authz removes with the other headers of this kind.
    """
    token = running.create_token("alice")
    evil.take()
    data = raw.request("POST", "/anthropic/v1/messages", [("x-api-key", token)], BODY, host=HOST)
    assert raw.ask(running.ports["recomputing"], data, timeout=30).status == 404
    assert evil.take() == []


def test_the_owner_still_gets_it(running: ExternalGateways, provider: Provider) -> None:
    """The owner's own route is served meanwhile."""
    token = running.create_token("alice")
    provider.take()
    data = raw.request("POST", "/anthropic/v1/messages", [("x-api-key", token)], BODY, host=HOST)
    assert raw.ask(running.ports["gateway"], data, timeout=30).status == 200
    (visit,) = provider.take()
    assert visit.all("x-api-key") == [CENTRAL_KEYS["anthropic"]]
