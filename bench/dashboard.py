"""The picture in docs/observability.md: panels of the dashboard, drawn from a real run.

``python -m bench.dashboard docs/dashboard.svg`` runs a pair with the stand-in provider and a
Prometheus (Debian's ``prometheus``), makes it busy, lets the identity source fail for a while, and
draws what Prometheus answers to the dashboard's own expressions.
It needs ``pip install matplotlib``.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.deployment import DEPLOY
from tests.support.pair import OWN_KEYS, Pair, free_port, pair, stand_in, wait_until

SECONDS = 150
SOURCE_AWAY = (60, 80)
KEY_LIMITED = (95, 115)
STEP_SECONDS = 2
PANELS = (
    "Checks by decision",
    "Refusals and failures by reason",
    "Allowed requests by provider and mode",
    "Answers by status class",
    "Duration of a check, seen by Envoy",
    "Identity source",
    "Central keys refused",
    "Tokens a minute by model",
    "Tokens a minute by user",
    "Usage records",
)
_LONG = re.compile(r"(\d\.\d)\d+")
MODELS = {"openai": ("gpt-small", "gpt-large"), "anthropic": ("claude-fast", "claude-deep")}
PATHS = {"openai": "/openai/v1/chat/completions", "anthropic": "/anthropic/v1/messages"}


def main() -> None:
    """Run, and write the SVG that the first argument names."""
    target = Path(sys.argv[1])
    metrics_port = free_port()
    with (
        stand_in() as provider,
        pair(provider, start=False, usage={"metrics_by_user": True}) as running,
        tempfile.TemporaryDirectory() as folder,
    ):
        running.settings["envoy"]["metrics"] = f"127.0.0.1:{metrics_port}"
        running.start()
        port = free_port()
        prometheus = _prometheus(Path(folder), port, running.http_port, metrics_port)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _is_ready(url), 30, "Prometheus being ready")
            began = time.time()
            _make_busy(running, began)
            _draw(target, url, began, time.time())
        finally:
            prometheus.terminate()
            prometheus.wait(20)


def _prometheus(folder: Path, port: int, authz: int, envoy: int) -> "subprocess.Popen[bytes]":
    jobs = [
        {"job_name": "authz", "static_configs": [{"targets": [f"127.0.0.1:{authz}"]}]},
        {
            "job_name": "envoy",
            "metrics_path": "/stats/prometheus",
            "static_configs": [{"targets": [f"127.0.0.1:{envoy}"]}],
        },
    ]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "2s"}, "scrape_configs": jobs}))
    return subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _make_busy(running: Pair, began: float) -> None:
    tokens = {}
    for user in ("alice", "bob"):
        running.create_user(user)
        tokens[user] = running.create_token(user)
    threads = [
        threading.Thread(target=_client, args=(running.url, began, number, tokens))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    database, away = running.folder / "identity.db", running.folder / "away.db"
    time.sleep(max(0.0, began + SOURCE_AWAY[0] - time.time()))
    database.rename(away)
    time.sleep(max(0.0, began + SOURCE_AWAY[1] - time.time()))
    away.rename(database)
    for thread in threads:
        thread.join()


def _client(url: str, began: float, number: int, tokens: dict[str, str]) -> None:
    provider = ("openai", "anthropic")[number % 2]
    user = ("alice", "bob")[number // 2]
    count = 0
    with httpx.Client(base_url=url, timeout=10) as client:
        while (elapsed := time.time() - began) < SECONDS:
            count += 1
            headers = {"x-coder-ai-governance-token": tokens[user]}
            if count % 5 == 0:
                name = "x-api-key" if provider == "anthropic" else "authorization"
                key = OWN_KEYS[provider]
                headers[name] = key if provider == "anthropic" else f"Bearer {key}"
            if count % 11 == 0:
                headers = {}
            model = MODELS[provider][count % 3 == 0]
            if provider == "openai" and KEY_LIMITED[0] < elapsed < KEY_LIMITED[1]:
                model = "fail-429"
            asked = {"model": model, "messages": [{"role": "user", "content": "Hello " * 20}]}
            client.post(PATHS[provider], headers=headers, json={**asked, "max_tokens": 64})
            time.sleep(0.1)


def _draw(target: Path, url: str, began: float, ended: float) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "authz", "font.size": 8}
    dashboard = json.loads((DEPLOY / "grafana/dashboards/gateway.json").read_text())
    panels = {panel["title"]: panel for panel in dashboard["panels"]}
    figure, places = pyplot.subplots(len(PANELS) // 2, 2, figsize=(11, 12), layout="constrained")
    for title, place in zip(PANELS, places.flat, strict=True):
        for asked in panels[title]["targets"]:
            for labels, series in _series(url, asked["expr"], began, ended):
                name = asked["legendFormat"]
                for key, value in labels.items():
                    name = name.replace("{{" + key + "}}", value)
                place.plot([at - began for at, _ in series], [v for _, v in series], label=name)
        unit = panels[title]["fieldConfig"]["defaults"]["unit"]
        place.set_title(title if unit == "short" else f"{title} ({unit})", loc="left")
        place.set_ylim(bottom=0)
        place.set_xlim(0, ended - began)
        place.grid(alpha=0.3)
        place.legend(loc="upper left", fontsize=6, framealpha=0.6)
    figure.savefig(target, metadata={"Date": None})
    # A tenth of a point is invisible, and takes half of the file.
    text = _LONG.sub(r"\1", target.read_text())
    target.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def _series(
    url: str, expression: str, began: float, ended: float
) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
    answer: Any = httpx.get(
        f"{url}/api/v1/query_range",
        params={
            "query": expression.replace("$__rate_interval", "10s"),
            "start": began,
            "end": ended,
            "step": STEP_SECONDS,
        },
    ).json()
    return [
        (
            one["metric"],
            [(float(at), float(value)) for at, value in one["values"] if value != "NaN"],
        )
        for one in answer["data"]["result"]
    ]


if __name__ == "__main__":
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())
    main()
