"""A machine's JWT through a real Envoy: exchanged, used, and its token removed."""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from joserfc.jwk import OctKey

from tests.support.certificates import Authority
from tests.support.deployment import REPOSITORY
from tests.support.issuer import AUDIENCE, JOB_TOKEN, IssuerServer, issuer_server, new_key
from tests.support.pair import Pair, Provider, pair

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
GITHUB: dict[str, Any] = {
    "sub": "repo:acme/app:ref:refs/heads/main",
    "repository": "acme/app",
    "repository_owner": "acme",
    "ref": "refs/heads/main",
    "event_name": "push",
    "runner_environment": "github-hosted",
    "jti": "f3a1",
}
KUBERNETES: dict[str, Any] = {
    "sub": "system:serviceaccount:ci:builder",
    "aud": [AUDIENCE],
    "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "builder", "uid": "77c0"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IssuerServer, Path]]:
    """An issuer over HTTPS, and the file of its CA."""
    authority = Authority(tmp_path_factory.mktemp("issuer"), "issuer-ca")
    with issuer_server(authority.issue()) as running:
        yield running, authority.ca_file


@pytest.fixture(scope="module")
def gateway(provider: Provider, server: tuple[IssuerServer, Path]) -> Iterator[Pair]:
    """A pair with a rule for a repository and one for a namespace."""
    issuer, ca_file = server
    trusted = {"issuer": issuer.url, "audience": AUDIENCE, "ca_file": str(ca_file)}
    rules = [
        {
            "name": "release",
            "issuer": issuer.url,
            "service_account": "ci",
            "claims": {"repository": "acme/*", "ref": "refs/heads/main"},
            "providers": ["anthropic"],
        },
        {
            "name": "pods",
            "issuer": issuer.url,
            "service_account": "ci",
            "claims": {"kubernetes.io": {"namespace": "ci"}},
        },
    ]
    with pair(provider, sign_in={"machines": {"issuers": [trusted], "rules": rules}}) as running:
        running.command("users", "create", "ci", "--service-account")
        yield running


def _exchange(gateway: Pair, jwt: str) -> httpx.Response:
    form = {"grant_type": EXCHANGE, "subject_token": jwt, "subject_token_type": JWT}
    return httpx.post(f"{gateway.url}/oauth/token", data=form)


def _ask(gateway: Pair, token: str, path: str = "/anthropic/v1/messages") -> int:
    headers = {"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"}
    message = {"role": "user", "content": "Hello"}
    body = {"model": "claude-sonnet-4-5", "max_tokens": 16, "messages": [message]}
    return httpx.post(f"{gateway.url}{path}", headers=headers, json=body).status_code


def test_from_a_jwt_to_an_answer_and_back(gateway: Pair, server: tuple[IssuerServer, Path]) -> None:
    """A CI job exchanges its JWT and is served; after ``authz tokens remove`` it gets a 401."""
    issuer, _ca = server
    response = _exchange(gateway, issuer.sign(**GITHUB))
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    token = response.json()["access_token"]
    assert _ask(gateway, token) == 200
    assert _ask(gateway, token, "/openai/v1/chat/completions") == 403
    audit = gateway.command("audit", "-o", "json").stdout
    [made] = [one for one in json.loads(audit) if one["resource_id"] == token[:10]]
    assert made["actor"] == "release: repo:acme/app:ref:refs/heads/main"
    assert made["ip"] == "127.0.0.1"
    gateway.command("tokens", "remove", token[:10])
    assert _ask(gateway, token) == 401


def test_a_pod_while_the_issuer_is_down(gateway: Pair, server: tuple[IssuerServer, Path]) -> None:
    """A pod's JWT is checked with cached keys, and a suspended service account stops at once."""
    issuer, _ca = server
    assert _exchange(gateway, issuer.sign(**KUBERNETES)).status_code == 200
    issuer.status = 503
    try:
        response = _exchange(gateway, issuer.sign(**KUBERNETES))
    finally:
        issuer.status = 200
    assert response.status_code == 200, response.text
    token = response.json()["access_token"]
    assert _ask(gateway, token) == 200
    gateway.set_status("ci", "suspended")
    try:
        assert _ask(gateway, token) == 401
        assert _exchange(gateway, issuer.sign(**KUBERNETES)).status_code == 400
    finally:
        gateway.set_status("ci", "active")


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_forged_jwts(gateway: Pair, server: tuple[IssuerServer, Path]) -> None:
    """No forged JWT gets a token, and no JWT is in the response or the log."""
    issuer, _ca = server
    kid = issuer.key.kid or ""
    public = issuer.key.as_dict(private=False)
    mine = new_key(kid)
    secret = base64.b64encode(json.dumps(public).encode()).decode()
    claims = issuer.claims(**GITHUB)
    forged = {
        "no signature": f"{_segment({'alg': 'none', 'kid': kid})}.{_segment(claims)}.",
        "public key as HMAC secret": issuer.sign(
            OctKey.import_key(secret, {"kid": kid}), {"alg": "HS256"}, **GITHUB
        ),
        "own key": issuer.sign(mine, **GITHUB),
        "own key in the header": issuer.sign(mine, {"jwk": mine.as_dict(private=False)}, **GITHUB),
        "URL of own keys": issuer.sign(mine, {"jku": f"{issuer.url}/mine"}, **GITHUB),
        "path as kid": issuer.sign(mine, {"kid": "../../../dev/null"}, **GITHUB),
        "foreign issuer": issuer.sign(**GITHUB, iss="https://evil.test"),
        "foreign audience": issuer.sign(**GITHUB, aud="https://other.test"),
        "ended": issuer.sign(**GITHUB, exp=1),
        "other repository": issuer.sign(**{**GITHUB, "repository": "acme-evil/app"}),
    }
    for name, jwt in forged.items():
        response = _exchange(gateway, jwt)
        assert response.status_code == 400, name
        assert response.json()["error"] == "invalid_grant", name
        for part in jwt.split("."):
            assert not part or part not in f"{response.text}{gateway.stdout}{gateway.stderr}", name
    assert "/mine" not in issuer.calls


def _run(script: str, gateway: Pair, ca_file: Path, **environ: str) -> str:
    """Run the lines of a page in a shell against this gateway, and return the output."""
    done = subprocess.run(
        ["sh", "-euc", script.replace("=https://gateway.example.com\n", f"={gateway.url}\n")],
        env={"PATH": os.environ["PATH"], "CURL_CA_BUNDLE": str(ca_file), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")),
    reason="the lines of docs/machines.md need curl and jq",
)
def test_the_lines_of_the_page(
    gateway: Pair, server: tuple[IssuerServer, Path], tmp_path: Path
) -> None:
    """The workflow of docs/machines.md gets a working token, and so do the lines for a pod."""
    issuer, ca_file = server
    issuer.job = GITHUB
    page = (REPOSITORY / "docs" / "machines.md").read_text()
    blocks = re.findall(r"^```yaml\n(.+?)^```", page, re.DOTALL | re.MULTILINE)
    [workflow] = [yaml.safe_load(block) for block in blocks if "GITHUB_ENV" in block]
    [step] = workflow["jobs"]["review"]["steps"]
    exported = tmp_path / "env"
    printed = _run(
        step["run"].replace("audience=https://gateway.example.com", f"audience={AUDIENCE}"),
        gateway,
        ca_file,
        ACTIONS_ID_TOKEN_REQUEST_URL=f"{issuer.url}/job?x=1",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN=JOB_TOKEN,
        GITHUB_ENV=str(exported),
    )
    lines = dict(line.split("=", 1) for line in exported.read_text().splitlines())
    token = lines["ANTHROPIC_AUTH_TOKEN"]
    assert printed == f"::add-mask::{token}\n"
    assert lines["ANTHROPIC_BASE_URL"] == f"{gateway.url}/anthropic"
    assert _ask(gateway, token) == 200

    jwt = tmp_path / "token"
    jwt.write_text(issuer.sign(**KUBERNETES))
    [pod] = [
        block
        for block in re.findall(r"^```sh\n(.+?)^```", page, re.DOTALL | re.MULTILINE)
        if "/var/run/secrets/gateway/token" in block
    ]
    pod = pod.replace("https://gateway.example.com", gateway.url)
    answer = _run(pod.replace("/var/run/secrets/gateway/token", str(jwt)), gateway, ca_file)
    assert _ask(gateway, json.loads(answer)["access_token"]) == 200


def test_metadata(gateway: Pair) -> None:
    """The metadata names the endpoint as the client reached it, despite forged headers."""
    place = f"{gateway.url}/.well-known/oauth-authorization-server"
    found = httpx.get(place, headers={"x-forwarded-proto": "https"}).json()
    assert found["issuer"] == gateway.url
    assert found["token_endpoint"] == f"{gateway.url}/oauth/token"
    assert EXCHANGE in found["grant_types_supported"]
    assert httpx.get(f"{gateway.url}/oauth/token").status_code == 405
