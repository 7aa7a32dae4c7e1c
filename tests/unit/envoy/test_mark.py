"""authz.envoy.mark: the mark of our own routes, where other Envoys ask the same authz."""

from pathlib import Path
from typing import Any

import pytest

from authz.config.external_gateways import open_secrets
from authz.config.settings import Config
from authz.envoy.render import render
from authz.errors import ConfigError
from tests.unit.certificates import rendering

ROUTES = [{"httproute": "ai/anthropic", "path": "/anthropic", "provider": "anthropic"}]


def _route_configs(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for one in value for found in _route_configs(one)]
    if not isinstance(value, dict):
        return []
    here = [value["route_config"]] if "route_config" in value else []
    return here + [found for one in value.values() for found in _route_configs(one)]


def _facts(routes: dict[str, Any]) -> dict[str, str]:
    per_filter = routes.get("typed_per_filter_config", {})
    settings = per_filter.get("envoy.filters.http.ext_authz", {}).get("check_settings", {})
    found: dict[str, str] = settings.get("context_extensions", {})
    return found


def _external(tmp_path: Path, **more: Any) -> dict[str, Any]:
    file = tmp_path / "secret"
    file.write_text("e" * 40)
    return {"routes": ROUTES, "envoy_secret": {"file": str(file)}, **more}


def test_every_route_has_the_mark(tmp_path: Path) -> None:
    """The routes of each listener have the mark, also for tunnels and intercepted hosts."""
    external = _external(tmp_path)
    config = Config.model_validate({"external_gateways": external})
    assert config.external_gateways is not None
    mark = open_secrets(config.external_gateways).mark
    assert mark is not None
    assert len(mark) == 64
    document = rendering.document(proxy={}, external_gateways=external)
    found = {routes["name"]: _facts(routes).get("routes") for routes in _route_configs(document)}
    assert {"gateway", "proxy", "intercept_api.anthropic.com"} <= found.keys()
    assert set(found.values()) == {mark}
    text = render(config)
    assert "e" * 40 not in text
    assert "Keep this file private" in text
    assert "Keep this file private" not in render(Config())


def test_no_mark_without_the_setting() -> None:
    """Without external gateways the configuration has no mark."""
    document = rendering.document(proxy={})
    assert not any("routes" in _facts(routes) for routes in _route_configs(document))


def test_the_secret_is_required(tmp_path: Path) -> None:
    """Rendering needs the secret, since authz would refuse all checks of our own Envoy."""
    external = _external(tmp_path)
    del external["envoy_secret"]
    with pytest.raises(ConfigError, match="envoy_secret: is required"):
        rendering.document(external_gateways=external)


def test_another_secret_is_another_mark(tmp_path: Path) -> None:
    """The mark depends on the secret, and does not show it."""
    marks = set()
    for text in ("e" * 40, "f" * 40):
        external = _external(tmp_path)
        (tmp_path / "secret").write_text(text)
        config = Config.model_validate({"external_gateways": external})
        assert config.external_gateways is not None
        mark = open_secrets(config.external_gateways).mark
        assert mark is not None
        assert text not in mark
        marks.add(mark)
    assert len(marks) == 2


def test_an_unreadable_secret(tmp_path: Path) -> None:
    """An error about the secret names the setting, and not the secret."""
    external = _external(tmp_path)
    (tmp_path / "secret").write_text("short")
    config = Config.model_validate({"external_gateways": external})
    assert config.external_gateways is not None
    with pytest.raises(ConfigError, match="envoy_secret: must have at least"):
        open_secrets(config.external_gateways)
