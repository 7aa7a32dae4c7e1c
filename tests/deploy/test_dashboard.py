"""deploy/grafana and deploy/prometheus: they name metrics, ports and files that exist."""

import shutil
import subprocess

import httpx
import pytest
import yaml

from tests.deploy.conftest import Deployed
from tests.deploy.expressions import ALERTS, DASHBOARD, RULES_FILE, is_sample_of, selected
from tests.support.deployment import DEPLOY, REPOSITORY, compose
from tests.support.pair import wait_until

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here (Debian: apt install prometheus)"
)


def test_every_metric_exists(deployed: Deployed) -> None:
    """A pair in use has every metric that the dashboard and the alerts query."""
    used = selected()
    assert len({name for name, _ in used}) >= 18
    running = deployed.pair
    headers = {"authorization": f"Bearer {running.create_token('alice')}"}
    ask = {"model": "gpt-m", "messages": [{"role": "user", "content": "Hello"}]}
    url = f"{running.url}/openai/v1/chat/completions"
    # The first model has no price.
    for model in ("gpt-m", "gpt-4o"):
        assert httpx.post(url, headers=headers, json=ask | {"model": model}).status_code == 200
    assert httpx.post(url, headers=headers, json=ask | {"model": "fail-500"}).status_code == 500
    assert httpx.get(f"{running.url}/anthropic/v1/models").status_code == 401

    def missing() -> set[tuple[str, str]]:
        # Envoy's histograms are there a few seconds after their first value.
        envoy = httpx.get(f"http://127.0.0.1:{deployed.metrics_port}/stats/prometheus").text
        authz = httpx.get(f"http://127.0.0.1:{running.http_port}/metrics").text
        lines = f"{authz}\n{envoy}".splitlines()
        return {one for one in used if not any(is_sample_of(line, *one) for line in lines)}

    try:
        wait_until(lambda: not missing(), 15, "every metric being there")
    except AssertionError:
        pytest.fail(f"not there: {missing()}")


@needs_promtool
def test_promtool_takes_the_files() -> None:
    """Prometheus' own check accepts the rules."""
    result = subprocess.run(
        ["promtool", "check", "rules", str(RULES_FILE)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_alerts_come_when_they_should() -> None:
    """On artificial series each alert fires on a bad day, and none fires on a good one."""
    tests = REPOSITORY / "tests" / "deploy" / "rules.test.yml"
    result = subprocess.run(
        ["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_tested_and_explained() -> None:
    """Promtool's tests cover each alert with and without firing, and the docs explain each one."""
    tests = yaml.safe_load((REPOSITORY / "tests" / "deploy" / "rules.test.yml").read_text())
    cases = [case for test in tests["tests"] for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names
    page = (REPOSITORY / "docs" / "observability.md").read_text()
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_prometheus_and_kubernetes_have_the_rules() -> None:
    """docker-compose.yml mounts them where Prometheus looks, and kustomize makes ConfigMaps."""
    (pattern,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())[
        "rule_files"
    ]
    targets = [mount["target"] for mount in compose()["services"]["prometheus"]["configs"]]
    assert pattern.replace("*", "gateway") in targets
    monitoring = DEPLOY / "kubernetes" / "monitoring"
    found = set()
    for name in yaml.safe_load((monitoring / "kustomization.yaml").read_text())["resources"]:
        folder = monitoring / name
        (generated,) = yaml.safe_load((folder / "kustomization.yaml").read_text())[
            "configMapGenerator"
        ]
        found |= {(folder / file).resolve() for file in generated["files"]}
    assert found == {RULES_FILE, DEPLOY / "grafana" / "dashboards" / "gateway.json"}


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
    """Prometheus's jobs name the services and ports of docker-compose.yml's gateway.yaml."""
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
