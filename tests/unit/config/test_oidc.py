"""authz.config.oidc: settings that can't work are refused at the start, with the cure."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from authz.config.loading import load
from authz.config.settings import Config
from authz.errors import ConfigError

_OKTA = {"name": "okta", "issuer": "https://acme.okta.com", "client_id": "0oa1"}
_GOOGLE = {"name": "google", "issuer": "https://accounts.google.com", "client_id": "1.apps"}


@pytest.mark.parametrize(
    ("sign_in", "text"),
    [
        ({"passwords": False}, "passwords: false needs oidc"),
        ({"url": "https://gateway.test/path"}, "url: must not have a path"),
        ({"oidc": [{**_OKTA, "issuer": "http://idp.test"}]}, "must begin with https://"),
        ({"oidc": [_OKTA, {**_OKTA, "name": "other"}]}, "two providers have the same issuer"),
        ({"oidc": [_OKTA, {**_OKTA, "issuer": "https://b.test"}]}, "have the same name"),
        ({"oidc": [{**_OKTA, "name": "Okta/.."}]}, "String should match pattern"),
        ({"oidc": [{**_OKTA, "scopes": ["profile"]}]}, "one must be openid"),
        ({"oidc": [{**_OKTA, "scopes": ["openid profile"]}]}, "words without spaces"),
        ({"oidc": [_GOOGLE]}, "anyone can have an account"),
        ({"oidc": [{**_OKTA, "allowed_email_domains": ["@acme.com"]}]}, "must be a domain"),
        ({"oidc": [{**_OKTA, "client_secret": {"env": "not a name"}}]}, "not a key"),
    ],
)
def test_refused(sign_in: dict[str, Any], text: str) -> None:
    """A setting that can't work, or would let anyone in, is refused."""
    with pytest.raises(ValidationError, match=text):
        Config.model_validate({"sign_in": sign_in})


def test_not_with_coder() -> None:
    """OIDC is refused if Coder manages the users, since they sign in to Coder."""
    values = {"identity": "https://coder.test", "sign_in": {"oidc": [_OKTA]}}
    with pytest.raises(ValidationError, match=r"sign_in\.oidc: needs a store of authz's own"):
        Config.model_validate(values)


def test_missing_secret(tmp_path: Path) -> None:
    """A missing client secret is reported before the start, with its place in the file."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "sign_in:\n  oidc:\n    - name: okta\n      issuer: https://acme.okta.com\n"
        "      client_id: a\n      client_secret: {env: OIDC_SECRET}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    assert caught.value.problems == [
        f"{file}:6: sign_in.oidc[0].client_secret.env: OIDC_SECRET is not set"
    ]
    config = load(file, environ={"OIDC_SECRET": "s3cret-of-the-client"})
    assert config.sign_in.oidc[0].button == "okta"
