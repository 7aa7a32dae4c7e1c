"""authz.up.rendering: what the supervisor writes for its children."""

from pathlib import Path
from typing import Any

import pytest

from authz.config.loading import load
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.up.rendering import write_snapshot
from tests.support.certificates import Authority

PROVIDER = {"name": "a", "type": "anthropic", "base_url": "https://a.test/x"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"identity": "postgresql://user:hunter2@db/coder", "allow_byok": False},
        {"limits": {"requests_per_minute": 5, "users": {"alice": 7, "bob": None}}},
        {
            "listen": "[::1]:8080",
            "proxy": {
                "ca": {"cert_file": "ca.pem", "key_file": "key.pem"},
                "allowed_private_cidrs": ["10.0.0.0/8", "fd00::/8"],
            },
            "envoy": {"admin": "127.0.0.1:9901", "drain_timeout": 0},
        },
        {
            "providers": [
                {**PROVIDER, "keys": [{"env": "ONE"}, {"env": "TWO"}]},
                {
                    **PROVIDER,
                    "name": "b",
                    "public_url": "https://b.test/",
                    "extra_paths": [{"path": "/v1/x/*", "methods": ["GET"]}],
                },
            ]
        },
    ],
    ids=["defaults", "identity", "limits", "proxy", "providers"],
)
def test_a_child_reads_what_was_checked(values: dict[str, Any], tmp_path: Path) -> None:
    """The snapshot is the same configuration, whatever is in it, and for its owner alone."""
    ca_file = Authority(tmp_path, "ca").ca_file
    providers = [dict(one) for one in values.get("providers", [])]
    for provider in providers:
        provider["ca_file"] = str(ca_file)
    if providers:
        values = {**values, "providers": providers}
    values = {**values, "authz": {"grpc": f"unix:{tmp_path}/authz.sock"}}
    config = Config.model_validate(values)
    path = write_snapshot(config, "authz")
    assert load(path, uses=Uses.NOTHING, environ={}) == config
    assert path.stat().st_mode & 0o777 == 0o600
