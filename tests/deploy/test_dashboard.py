"""deploy/grafana and deploy/prometheus: they name metrics, ports and files that exist."""

import json
import re

import httpx
import yaml

from tests.deploy.conftest import Deployed
from tests.support.deployment import DEPLOY, compose
from tests.support.pair import wait_until

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "gateway.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

SELECTOR = re.compile(r"\b((?:authz|envoy)_\w+)(?:\{([^}]*)\}|(?=\[))")
"""A metric, and the labels by which it is picked."""


def test_every_metric_of_the_dashboard_exists(deployed: Deployed) -> None:
    """A running pair has each one, with the values of labels by which the dashboard picks it."""
    used = {one for text in EXPRESSIONS for one in SELECTOR.findall(text)}
    assert len({name for name, _ in used}) >= 7
    httpx.get(f"{deployed.pair.url}/anthropic/v1/models")
    authz = httpx.get(f"http://127.0.0.1:{deployed.pair.http_port}/metrics").text

    def missing() -> set[tuple[str, str]]:
        # Envoy's histograms are there a few seconds after their first value.
        envoy = httpx.get(f"http://127.0.0.1:{deployed.metrics_port}/stats/prometheus").text
        lines = f"{authz}\n{envoy}".splitlines()
        return {one for one in used if not any(_is_sample_of(line, *one) for line in lines)}

    wait_until(lambda: not missing(), 15, "every metric being there")


def _is_sample_of(line: str, name: str, labels: str) -> bool:
    # One test makes no allow, so what an expression asks of the decision is left out.
    wanted = [label for label in labels.split(",") if label.startswith("envoy_")]
    return re.match(rf"{name}[ {{]", line) is not None and all(one in line for one in wanted)


def test_panels_stand_side_by_side() -> None:
    """No two panels have the same place or number."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_grafana_finds_what_it_is_given() -> None:
    """The data source is Prometheus' service, and the dashboards are where they are mounted."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (dashboards,) = yaml.safe_load((provisioning / "dashboards" / "gateway.yaml").read_text())[
        "providers"
    ]
    targets = [mount["target"] for mount in compose()["services"]["grafana"]["configs"]]
    assert f"{dashboards['options']['path']}/gateway.json" in targets


def test_prometheus_asks_where_the_metrics_are() -> None:
    """Its jobs name the services and ports of docker-compose.yml's gateway.yaml."""
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    settings = yaml.safe_load((DEPLOY / "compose" / "gateway.yaml").read_text())
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs}
    services = compose()["services"]
    for name, address in (
        ("authz", settings["authz"]["http"]),
        ("envoy", settings["envoy"]["metrics"]),
    ):
        assert found[name]["names"] == [name]
        assert str(found[name]["port"]) == address.rpartition(":")[2]
        assert set(services["prometheus"]["networks"]) & set(services[name]["networks"])
