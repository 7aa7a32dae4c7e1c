"""authz.envoy.signing, as it stands in the cluster; the signature itself is in conformance."""

from pathlib import Path
from typing import Any

import pytest

from authz.config.settings import Config
from authz.envoy.binary import validate
from authz.envoy.render import render
from tests.unit.envoy.rendered import cluster, manager, rendered

URLS = ["https://bedrock-mantle.us-east-1.api.aws", "http://127.0.0.1:9"]


def _providers(url: str, **aws: Any) -> list[dict[str, Any]]:
    signing = {"region": "us-east-1", **aws}
    return [
        {"name": "aws", "type": "bedrock", "base_url": url, "aws": signing},
        {"name": "own", "type": "bedrock", "base_url": url},
    ]


def _filters(url: str, name: str = "provider_aws", **aws: Any) -> list[dict[str, Any]]:
    found = cluster(rendered(providers=_providers(url, **aws)), name)
    (options,) = found["typed_extension_protocol_options"].values()
    filters: list[dict[str, Any]] = options.get("http_filters", [])
    return filters


def _signer(url: str, **aws: Any) -> dict[str, Any]:
    matching = _filters(url, **aws)[0]["typed_config"]
    (matcher,) = matching["xds_matcher"]["matcher_list"]["matchers"]
    action = matcher["on_match"]["action"]["typed_config"]
    signer: dict[str, Any] = action["typed_config"]["typed_config"]
    return signer


@pytest.mark.parametrize("url", URLS)
def test_only_what_is_centralized_is_signed(url: str) -> None:
    """Envoy signs only if authz answered `centralized`, else the request stays unchanged."""
    matching = _filters(url)[0]["typed_config"]
    (matcher,) = matching["xds_matcher"]["matcher_list"]["matchers"]
    assert "on_no_match" not in matching["xds_matcher"]
    predicate = matcher["predicate"]["single_predicate"]
    source = predicate["input"]["typed_config"]
    assert (source["filter"], source["path"]) == ("envoy.filters.http.ext_authz", [{"key": "mode"}])
    wanted = predicate["custom_match"]["typed_config"]
    assert wanted["value"] == {"string_match": {"exact": "centralized"}}
    assert "invert" not in wanted


@pytest.mark.parametrize("url", URLS)
def test_how_it_is_signed(url: str) -> None:
    """Requests are signed for Mantle in the configured region, with an unsigned body."""
    signer = _signer(url)
    assert (signer["service_name"], signer["region"]) == ("bedrock-mantle", "us-east-1")
    assert signer["use_unsigned_payload"] is True
    assert signer["match_included_headers"] == [{"prefix": "x-amz-"}]
    assert "credential_provider" not in signer
    assert _filters(url)[-1]["name"] == "envoy.filters.http.upstream_codec"


def test_credentials_from_a_file_and_nowhere_else() -> None:
    """Envoy reads the credentials from the file alone, and again when it is replaced."""
    signer = _signer(URLS[0], credentials_file="/run/secrets/aws", profile="ai")
    found = signer["credential_provider"]
    assert found["custom_credential_provider_chain"] is True
    assert found["credentials_file_provider"] == {
        "credentials_data_source": {
            "filename": "/run/secrets/aws",
            "watched_directory": {"path": "/run/secrets"},
        },
        "profile": "ai",
    }


def test_nobody_else_signs() -> None:
    """Neither a provider without AWS credentials nor the listener has a signing filter."""
    document = rendered(providers=_providers(URLS[0]))
    assert _filters(URLS[0], "provider_own") == []
    assert "aws_request_signing" not in str(manager(document))


@pytest.mark.parametrize("url", URLS)
def test_envoy_accepts_it(url: str, tmp_path: Path) -> None:
    """The real Envoy validates both ways to credentials."""
    credentials = tmp_path / "aws" / "credentials"
    credentials.parent.mkdir()
    credentials.write_text("[default]\naws_access_key_id=A\naws_secret_access_key=B\n")
    for aws in ({}, {"credentials_file": str(credentials)}):
        path = tmp_path / "envoy.yaml"
        config = Config.model_validate({"providers": _providers(url, **aws)})
        path.write_text(render(config))
        validate(path)
