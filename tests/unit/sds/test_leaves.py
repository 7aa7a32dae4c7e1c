"""Keeping the leaves fresh."""

import asyncio
from pathlib import Path

import pytest

from authz.certificates.ca import make_ca
from authz.certificates.leaves import leaf_file
from authz.config.settings import Config
from authz.errors import ConfigError
from authz.sds import leaves
from authz.sds.leaves import keep_leaves, make_leaves
from tests.support.pair import wait_until


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The default providers, with a CA."""
    files = tmp_path / "ca.pem", tmp_path / "key.pem"
    make_ca(*files, "Test CA")
    return Config.model_validate(
        {
            "proxy": {"ca": {"cert_file": str(files[0]), "key_file": str(files[1])}},
            "authz": {"grpc": f"unix:{tmp_path}/authz.sock"},
        }
    )


def test_every_host(config: Config) -> None:
    """Each provider's host gets a leaf, once."""
    assert sorted(make_leaves(config)) == sorted(config.intercepted_hosts)
    assert make_leaves(config) == []
    for host in config.intercepted_hosts:
        assert leaf_file(config.leaf_folder, host).is_file()


def test_proxy_off(tmp_path: Path) -> None:
    """Without a proxy no leaf is made and no CA is required."""
    config = Config.model_validate({"authz": {"grpc": f"unix:{tmp_path}/authz.sock"}})
    assert make_leaves(config) == []
    assert list(tmp_path.iterdir()) == []


def test_unusable_ca(config: Config) -> None:
    """A missing CA is an error, not a start without certificates."""
    assert config.proxy is not None
    config.proxy.ca.key_file.unlink()
    with pytest.raises(ConfigError, match="run `authz proxy ca`"):
        make_leaves(config)


async def test_round_after_a_failure(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed round the next one makes the missing leaves."""
    assert config.proxy is not None
    monkeypatch.setattr(leaves, "CHECK_SECONDS", 0.01)
    key_file = config.proxy.ca.key_file
    hidden = key_file.rename(key_file.with_suffix(".hidden"))
    host = next(iter(config.intercepted_hosts))
    task = asyncio.create_task(keep_leaves(config))
    try:
        await asyncio.sleep(0.1)
        assert not task.done()
        hidden.rename(key_file)
        path = leaf_file(config.leaf_folder, host)
        await asyncio.to_thread(wait_until, path.exists, 5, "the leaf being there")
    finally:
        task.cancel()
