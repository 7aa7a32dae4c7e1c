"""Rendered configurations, each made once for all tests: rendering takes a moment."""

import functools
import json
from typing import Any

from tests.unit.envoy.rendered import rendered


def document(**values: Any) -> dict[str, Any]:
    """Render a configuration with these keys of gateway.yaml; it is not to be changed."""
    return _rendered(json.dumps(values))


@functools.cache
def _rendered(values: str) -> dict[str, Any]:
    return rendered(**json.loads(values))
