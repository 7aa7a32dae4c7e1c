"""authz.envoy.dynamic and parts: what is constant, and what is replaced while Envoy runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from authz.config.settings import Config
from authz.envoy.binary import validate
from authz.envoy.dynamic import split
from authz.envoy.parts import Parts, bootstrap_file, read_parts, write_document, write_parts
from tests.support.certificates import Authority

A = {"name": "a", "type": "anthropic", "base_url": "https://a.test/"}
B = {"name": "b", "type": "openai", "base_url": "https://b.test/v1"}


def _split(folder: Path, *providers: dict[str, Any], **values: Any) -> Parts:
    return split(Config.model_validate({"providers": list(providers), **values}), folder)


def test_the_bootstrap_is_constant(tmp_path: Path) -> None:
    """Providers and what depends on them are in the watched files alone."""
    one, two = _split(tmp_path, A), _split(tmp_path, {**A, "base_url": "http://x.test/"}, B)
    assert one.bootstrap == two.bootstrap
    assert one.routes != two.routes
    for name in ("a.test", "provider_a"):
        assert name not in json.dumps(one.bootstrap)
    other = _split(tmp_path, A, envoy={"stream_idle_timeout": 7})
    assert other.bootstrap != one.bootstrap


_REPLICAS = {
    "authz": {"grpc": "127.0.0.1:9001"},
    "envoy": {"authz_grpc": ["127.0.0.1:9001", "127.0.0.1:9002"]},
}
_KEY, _KEYS = {"key": {"env": "A"}}, {"keys": [{"env": "A"}, {"env": "B"}]}


@pytest.mark.parametrize(
    ("one", "two", "values"),
    [
        ([A], [{**A, **_KEYS}], {}),
        ([A], [{**A, **_KEYS}], {"authz": {"workers": 2}, "revocation": {"end_streams": True}}),
        ([A], [{**A, **_KEYS}], {"proxy": {"ca": {"cert_file": "ca.pem", "key_file": "key.pem"}}}),
        ([A], [{**A, **_KEYS}], _REPLICAS),
        ([A], [{**A, **_KEY}], {"budgets": {"strict": True}}),
    ],
    ids=["plain", "workers", "proxy", "replicas", "strict budgets"],
)
def test_what_a_provider_may_need_is_there(
    tmp_path: Path, one: list[dict[str, Any]], two: list[dict[str, Any]], values: dict[str, Any]
) -> None:
    """A pool of keys, the first one too, and the first central key change no listener."""
    before, after = _split(tmp_path, *one, **values), _split(tmp_path, *two, **values)
    assert before.bootstrap == after.bootstrap
    shared = before.listeners.keys() & after.listeners.keys()
    assert all(before.listeners[name] == after.listeners[name] for name in shared)


def test_a_changed_provider_has_another_cluster(tmp_path: Path) -> None:
    """A changed provider gets a new cluster that old routes don't use, and keeps its statistics."""
    one, two = _split(tmp_path, A, B), _split(tmp_path, {**A, "base_url": "https://x.test/"}, B)
    assert not set(one.of_provider["a"]) & set(two.of_provider["a"])
    assert one.of_provider["b"] == two.of_provider["b"]
    for parts in (one, two):
        (cluster,) = parts.of_provider["a"]
        assert parts.clusters[cluster]["alt_stat_name"] == "provider_a"
        assert parts.clusters[cluster]["load_assignment"]["cluster_name"] == cluster
        routes = json.dumps(parts.routes["gateway"])
        assert f'"cluster": "{cluster}"' in routes
        assert '"cluster": "provider_a"' not in routes


def test_another_key_is_no_change_for_envoy(tmp_path: Path) -> None:
    """A changed key changes nothing for Envoy; a second key adds a cluster that retries."""
    one = _split(tmp_path, {**A, **_KEY})
    assert one == _split(tmp_path, {**A, "key": {"env": "A_KEY"}})
    assert one == _split(tmp_path, {**A, **_KEYS, "retry_keys": False})
    several = _split(tmp_path, {**A, **_KEYS})
    assert not set(one.of_provider["a"]) & set(several.of_provider["a"])


def test_content_of_the_ca_file_counts(tmp_path: Path) -> None:
    """Envoy reads a CA file when it makes a cluster, so that new content has to be a new one."""
    provider = {**A, "ca_file": str(Authority(tmp_path, "one").ca_file)}
    before = _split(tmp_path, provider)
    assert _split(tmp_path, provider).of_provider == before.of_provider
    Authority(tmp_path, "two").ca_file.replace(provider["ca_file"])
    assert _split(tmp_path, provider).of_provider != before.of_provider


@pytest.mark.parametrize("behind", [False, True], ids=["direct", "behind a company's proxy"])
def test_the_proxy(tmp_path: Path, behind: bool) -> None:
    """Internal listeners are watched, too; the proxy's own is constant."""
    folder = tmp_path / "envoy"
    proxy: dict[str, Any] = {"ca": {"cert_file": "ca.pem", "key_file": "key.pem"}}
    if behind:
        proxy["upstream_proxy"] = "http://127.0.0.1:3128"
    one, two = _split(folder, A, proxy=proxy), _split(folder, A, B, proxy=proxy)
    assert one.bootstrap == two.bootstrap
    assert set(one.routes) == {"gateway", "proxy", "intercept_a.test"}
    assert set(two.routes) - set(one.routes) == {"intercept_b.test"}
    # What both have is the same: an internal listener that changed would cut its streams.
    shared = set(one.listeners) & set(two.listeners)
    assert len(shared) == (2 if behind else 1)
    assert all(one.listeners[name] == two.listeners[name] for name in shared)
    if behind:
        moved = _split(folder, {**A, "base_url": "https://x.test/"}, proxy=proxy)
        gone = set(one.listeners) - set(moved.listeners)
        assert any(name.startswith("provider_a_") for name in gone)


def test_written_and_read(tmp_path: Path) -> None:
    """Written parts are read back unchanged, and the real Envoy accepts bootstrap and whole."""
    parts = _split(tmp_path, A, B)
    write_parts(parts, tmp_path)
    read = read_parts(tmp_path)
    assert read is not None
    for field in ("bootstrap", "clusters", "listeners", "routes"):
        assert getattr(read, field) == getattr(parts, field)
    assert Parts.from_json(parts.to_json()) == parts
    assert read_parts(tmp_path / "elsewhere") is None
    validate(bootstrap_file(tmp_path))
    whole = tmp_path / "whole.json"
    assert write_document(whole, parts.whole)
    assert not write_document(whole, parts.whole)
    validate(whole)
