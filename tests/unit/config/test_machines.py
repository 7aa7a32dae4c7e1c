"""authz.config.machines: which issuers and rules are accepted."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config.loading import load
from authz.config.machines import Machines
from authz.config.shared_issuers import too_wide
from authz.errors import ConfigError

GITHUB = "https://token.actions.githubusercontent.com"
GITLAB = "https://gitlab.com"
CLUSTER = "https://kubernetes.default.svc.cluster.local"
RULE = {
    "name": "release",
    "issuer": GITHUB,
    "service_account": "ci",
    "claims": {"repository": "acme/app"},
}


def _problems(folder: Path, machines: Any, **values: Any) -> list[str]:
    path = folder / "gateway.yaml"
    path.write_text(json.dumps({"sign_in": {"machines": machines}, **values}))
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    return caught.value.problems


def _machines(rule: dict[str, Any] | None = None, **issuer: Any) -> dict[str, Any]:
    given = {"issuer": GITHUB, "audience": "https://gateway.test", **issuer}
    return {"issuers": [given], "rules": [{**RULE, **(rule or {})}]}


def test_a_rule() -> None:
    """A rule has a lifetime of an hour and no limits by default, and can set both."""
    text = json.dumps(_machines())
    [rule] = Machines.model_validate_json(text).rules
    assert rule.lifetime == 3600
    assert not rule.rules.as_json()
    limits = {"lifetime": "10m", "providers": ["openai"], "modes": ["byok"]}
    [rule] = Machines.model_validate_json(json.dumps(_machines(limits))).rules
    assert rule.lifetime == 600
    assert rule.rules.as_json() == {"providers": ["openai"], "modes": ["byok"]}


@pytest.mark.parametrize(
    ("machines", "problem"),
    [
        (_machines({"claims": {}}), "rules[0].claims: anyone can get a JWT"),
        (_machines({"claims": {"repository": 12}}), "rules[0].claims: repository: must be text"),
        (_machines({"claims": {"repository": ["a/b"]}}), "rules[0].claims: repository: must be"),
        (_machines({"claims": {"ref": "refs/heads/main"}}), "rules[0].claims: anyone can get"),
        (_machines({"lifetime": "2h"}), "rules[0].lifetime: must be at most 3600"),
        (_machines({"lifetime": 5}), "rules[0].lifetime: must be at least 60"),
        (_machines({"name": "Release 1"}), "rules[0].name:"),
        (_machines({"issuer": GITLAB}), "rules[0].issuer: is not one of issuers"),
        (_machines({"modes": ["free"]}), "a mode is centralized or byok"),
        (_machines({"providers": ["nope"]}), "rules[0].providers: there is no provider of one"),
        (_machines(issuer="http://issuer.test"), "issuers[0].issuer: must begin with https://"),
        (_machines(issuer="issuer.test"), "issuers[0]"),
        (_machines(jwks_file="none.json"), "issuers[0].jwks_file: can't read none.json"),
        (_machines(jwks_file="/dev/null"), "issuers[0].jwks_file: must be a JWKS document"),
        (_machines(audience=""), "issuers[0].audience"),
        ({"issuers": [], "rules": [RULE]}, "issuers: must not be empty"),
        ({**_machines(), "rules": [RULE, RULE]}, "rules: a name appears twice"),
        (
            {"issuers": _machines()["issuers"] * 2, "rules": [RULE]},
            "issuers: an issuer appears twice",
        ),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, machines: dict[str, Any], problem: str) -> None:
    """A setting that can't work or lets strangers in is refused at the start, with its place."""
    problems = _problems(tmp_path, machines)
    assert any(problem in line for line in problems), problems


def test_coder_manages_its_tokens(tmp_path: Path) -> None:
    """With Coder as identity there are no rules for machines."""
    problems = _problems(tmp_path, _machines(), identity="https://coder.test")
    assert any("sign_in.machines: needs a store of authz's own" in line for line in problems)


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [
        (GITHUB, {"repository": "acme/*"}),
        (GITHUB, {"repository": "acme/app", "ref": "*"}),
        (GITHUB, {"sub": "repo:acme/*"}),
        (GITHUB, {"sub": "repo:acme@12/app@34:ref:refs/heads/main"}),
        (GITHUB, {"sub": "repository_owner:acme:*"}),
        (GITHUB, {"repository_owner_id": "12", "ref": "refs/tags/*"}),
        (GITLAB, {"namespace_path": "acme"}),
        (GITLAB, {"sub": "project_path:acme/*"}),
        ("https://accounts.google.com", {"email": "*@acme.iam.gserviceaccount.com"}),
        (CLUSTER, {"kubernetes.io": "x"}),
        (CLUSTER, {"sub": "system:serviceaccount:ci:*"}),
    ],
)
def test_rules_that_name_an_owner(issuer: str, claims: dict[str, str]) -> None:
    """A rule on an issuer that is open to anyone names the owner in full."""
    assert too_wide(issuer, claims) is None


@pytest.mark.parametrize(
    ("issuer", "claims"),
    [
        (GITHUB, {"repository": "acme*"}),
        (GITHUB, {"repository": "acme?/app"}),
        (GITHUB, {"repository": "*/app"}),
        (GITHUB, {"sub": "repo:*"}),
        (GITHUB, {"sub": "repo:acme*"}),
        (GITHUB, {"sub": "repo:acme*/app:ref:refs/heads/main"}),
        (GITHUB, {"repository_owner": "acme*"}),
        (GITHUB, {"actor": "alice", "workflow": "release"}),
        (f"{GITHUB}/", {"repository": "acme*"}),
        (GITLAB, {"namespace_path": "acme*"}),
        (GITLAB, {"project_path": "acme*"}),
        ("https://accounts.google.com", {"email": "a@*"}),
        (CLUSTER, {"sub": "*"}),
        (CLUSTER, {}),
    ],
)
def test_rules_that_let_strangers_in(issuer: str, claims: dict[str, str]) -> None:
    """A wildcard within the owner also means owners that a stranger can register."""
    assert too_wide(issuer, claims)


@given(st.text("abc/:*?-", min_size=1, max_size=12))
def test_any_pattern_of_a_repository(pattern: str) -> None:
    """An accepted pattern has a whole owner, or no wildcard at all."""
    if too_wide(GITHUB, {"repository": pattern}) is None:
        owner, slash, _rest = pattern.partition("/")
        assert "*" not in owner
        assert "?" not in owner
        assert slash or not set("*?") & set(pattern)
