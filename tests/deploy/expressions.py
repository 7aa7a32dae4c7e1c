"""The metrics that the dashboard and the alerts query."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.deployment import DEPLOY

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/gateway.json").read_text())
RULES_FILE = DEPLOY / "prometheus" / "rules" / "gateway.yml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]
]
EXPRESSIONS: list[str] = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(alert["expr"] for alert in ALERTS),
]

_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)")
_TEXT = re.compile(r'(?<=[(, ])"[^"]*"')
_METRIC = re.compile(r"\b((?:authz|envoy|gen_ai)_\w+)(?:\{([^}]*)\})?")


def selected() -> set[tuple[str, str]]:
    """Return each metric of an expression, and its label matchers."""
    return {one for text in EXPRESSIONS for one in _selected(text)}


def _selected(text: str) -> Iterator[tuple[str, str]]:
    for found in _METRIC.finditer(_GROUPING.sub("", _TEXT.sub("", text))):
        yield found.group(1), found.group(2) or ""


def is_sample_of(line: str, name: str, labels: str) -> bool:
    """Return whether a line of Prometheus' text format has the metric and every named label.

    A label is compared with its value if that is plain text. One run does not produce every status
    and decision, so for other comparisons only the name of the label is looked for.
    """
    if re.match(rf"{name}[ {{]", line) is None:
        return False
    wanted = [label for label in labels.split(",") if label]
    return all((one if re.match(r'envoy_\w+="', one) else _name(one)) in line for one in wanted)


def _name(label: str) -> str:
    return re.split(r"[=!]", label, maxsplit=1)[0] + "="
