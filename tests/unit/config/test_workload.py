"""authz.config.workload: the identities for each provider, and where they may be sent."""

from typing import Any

import pytest
from pydantic import ValidationError

from authz.config.settings import Provider

GOOGLE = {
    "type": "google",
    "token_file": "/run/jwt",
    "audience": "//iam.googleapis.com/projects/1/providers/p",
}


def _provider(kind: str, workload: dict[str, Any]) -> Provider:
    return Provider.model_validate(
        {
            "name": "a",
            "type": kind,
            "base_url": "https://a.test/",
            "key": {"workload": workload},
        }
    )


@pytest.mark.parametrize(
    ("kind", "workload", "problem"),
    [
        ("anthropic", GOOGLE, "key.workload: google is for providers of type gemini, google"),
        ("gemini", {**GOOGLE, "token_url": "http://sts.test/"}, "token_url: must begin with https"),
        (
            "gemini",
            {**GOOGLE, "impersonation_url": "http://iam.test/"},
            "impersonation_url: must begin with https",
        ),
        ("gemini", {**GOOGLE, "audience": "a b"}, "must be an id"),
        ("gemini", {"type": "google"}, "Field required"),
        ("gemini", {**GOOGLE, "type": "aws"}, "does not match any of the expected tags"),
    ],
)
def test_bad(kind: str, workload: dict[str, Any], problem: str) -> None:
    """An error names what to fix."""
    with pytest.raises(ValidationError, match=problem):
        _provider(kind, workload)


@pytest.mark.parametrize("url", ["https://sts.test/token", "http://127.0.0.1:9000/token"])
def test_an_endpoint_of_ones_own(url: str) -> None:
    """A custom endpoint has to use TLS or to be on this machine."""
    assert _provider("gemini", {**GOOGLE, "token_url": url}).key_references
