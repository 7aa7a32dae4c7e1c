"""``authz machines test``, and the warnings of ``authz config check`` about service accounts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from authz.cli.configuration import config
from authz.cli.machines import machines
from authz.cli.users import users
from authz.errors import AuthzError
from tests.support.certificates import Authority
from tests.support.issuer import AUDIENCE, IssuerServer, issuer_server

Test = Callable[[str], Result]
CLAIMS: dict[str, Any] = {"repository": "acme/app", "actor": "alice\x1b[2J"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the issuer."""
    return Authority(tmp_path_factory.mktemp("issuer"), "issuer-ca")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[IssuerServer]:
    """The issuer."""
    with issuer_server(authority.issue()) as running:
        yield running


@pytest.fixture(autouse=True)
def _folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: IssuerServer, authority: Authority
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTHZ_CONFIG", raising=False)
    issuer = {"issuer": server.url, "audience": AUDIENCE, "ca_file": str(authority.ca_file)}
    rule = {"issuer": server.url, "service_account": "ci", "providers": ["openai"]}
    rules = [
        {**rule, "name": "other", "claims": {"repository": "other/*", "actor": "bob"}},
        {**rule, "name": "release", "claims": {"repository": "acme/*"}},
    ]
    values = {"sign_in": {"machines": {"issuers": [issuer], "rules": rules}}}
    Path("gateway.yaml").write_text(yaml.safe_dump(values))


def _run(jwt: str) -> Result:
    Path("jwt").write_text(f"{jwt}\n")
    result = CliRunner().invoke(machines, ["test", "--token-file", "jwt"])
    # Neither the JWT nor its signed part is printed.
    for part in jwt.split("."):
        assert not part or part not in f"{result.output}{result.exception}"
    assert "\x1b" not in f"{result.output}{result.exception}"
    return result


def test_a_rule_that_matches(server: IssuerServer) -> None:
    """The command tells why earlier rules don't match, which one does, and what it gives."""
    CliRunner().invoke(users, ["create", "ci", "--service-account"])
    result = _run(server.sign(**CLAIMS))
    assert result.exit_code == 0, result.output
    assert "other: does not match: repository is acme/app, not other/*" in result.stdout
    assert "other: does not match: actor is alice\ufffd[2J, not bob" in result.stdout
    assert "release: matches\n" in result.stdout
    assert "It gets a token of ci for 3600 s (openai).\n" in result.stdout


def test_a_service_account_that_is_missing(server: IssuerServer) -> None:
    """Without its service account, or with a person of that name, a rule gives no token."""
    CliRunner().invoke(users, ["create", "someone"])
    result = _run(server.sign(**CLAIMS))
    assert isinstance(result.exception, AuthzError)
    assert "authz users create ci --service-account" in str(result.exception)
    CliRunner().invoke(users, ["create", "ci"])
    assert "ci is a person" in str(_run(server.sign(**CLAIMS)).exception)


def test_no_rule_matches(server: IssuerServer) -> None:
    """The command fails and names each claim that is missing."""
    result = _run(server.sign())
    assert "release: does not match: repository is missing, not acme/*" in result.stdout
    assert "no rule matches" in str(result.exception)


def test_a_jwt_that_is_not_valid(server: IssuerServer) -> None:
    """The command fails with the reason, also for a file that has no JWT."""
    for jwt, reason in (
        (server.sign(exp=1), "its exp claim is not accepted"),
        (server.sign(aud="https://other.test"), "its aud claim is not accepted"),
        ("x" * 200_000, "it is longer than 16 KiB"),
        ("no-jwt", "it is not a JWT"),
    ):
        assert reason in str(_run(jwt).exception)


def test_without_rules() -> None:
    """Without settings the command says which ones are missing."""
    Path("gateway.yaml").write_text("{}")
    assert "sign_in.machines: is not set" in str(_run("no-jwt").exception)


def test_warnings_of_the_check() -> None:
    """``authz config check`` warns of a service account that is missing or suspended."""
    runner = CliRunner()
    assert "can't look for service accounts" in runner.invoke(config, ["check"]).stderr
    runner.invoke(users, ["create", "someone"])
    result = runner.invoke(config, ["check"])
    assert result.exit_code == 0
    assert "warning: sign_in.machines.rules[0].service_account: there is no user" in result.stderr
    runner.invoke(users, ["create", "ci", "--service-account"])
    assert "service_account" not in runner.invoke(config, ["check"]).stderr
    runner.invoke(users, ["suspend", "ci"])
    assert json.dumps("ci is suspended")[1:-1] in runner.invoke(config, ["check"]).stderr
