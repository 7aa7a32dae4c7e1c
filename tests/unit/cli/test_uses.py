"""The secrets and certificates that each command needs, as data."""

import io
from pathlib import Path

import click
import pytest

from authz.cli.main import cli, main
from tests.unit.cli.test_cli_page import _commands

# Every file and variable that this configuration names is missing.
_CONFIGURATION = """\
identity: sqlite:///./identity.db
own_keys: {keys: [{file: master.key}]}
tls: {cert_file: listener.crt, key_file: listener.key}
providers:
  - {name: one, type: openai, base_url: 'https://127.0.0.1:1/v1', ca_file: one.crt,
     key: {file: one.key}}
  - {name: two, type: openai, base_url: 'http://127.0.0.1:1/v1',
     keys: [{file: two.key}, {env: UNSET_KEY}]}
proxy: {tls: {cert_file: proxy.crt, key_file: proxy.key}}
budgets: {}
limits: {shared: {store: memory}}
models: {assigned: true}
notices: {webhook: {url: 'https://127.0.0.1:1', secret: {file: hook.secret}, ca_file: hook.crt}}
prices: {}
tracing: {otlp: 'https://127.0.0.1:1', ca_file: collector.crt}
authz:
  grpc: 127.0.0.1:1
  tls: {cert_file: authz.crt, key_file: authz.key, ca_file: authz-ca.crt}
  client_tls: {cert_file: envoy.crt, key_file: envoy.key}
sign_in:
  machines:
    issuers: [{issuer: 'https://issuer.test', audience: a, ca_file: issuer.crt, jwks_file: jwks}]
    rules: [{name: ci, issuer: 'https://issuer.test', service_account: ci, claims: {sub: 'x'}}]
"""
_EXTERNAL = """\
providers: [{name: one, type: openai, base_url: 'https://one.test/v1', key: {file: one.key}}]
authz: {grpc: 'authz.test:1', tls: {cert_file: a.crt, key_file: a.key, ca_file: ca.crt}}
external_gateways:
  routes:
    - {host: llm.test, path: /one, provider: one}
    - {httproute: ai/one, path: /one, provider: one}
  secret: {file: gateways.key}
  envoy_secret: {file: mark.key}
"""
_KEYS = {"one.key", "two.key"}
_CA = {".authz/ca.pem"}
_BOTH = {"authz-ca.crt", "collector.crt"}
_AUTHZ = {"authz.crt", "authz.key", "issuer.crt", "jwks"} | _BOTH
_LISTENERS = {"listener.crt", "listener.key", "proxy.crt", "proxy.key"}
_ENVOY = {"envoy.crt", "envoy.key", "one.crt"} | _LISTENERS | _BOTH
# authz starts without it: only users with stored keys need it.
_MASTER = "master.key"
_NOTICES = {"hook.secret", "hook.crt"}
_EVERY = _NOTICES | _KEYS | _CA | _AUTHZ | _ENVOY

# A command without names works. The other ones fail and name exactly these files.
_NEEDS: dict[str, tuple[str, set[str]]] = {
    "authz audit": ("audit", set()),
    "authz audit export": ("audit export", set()),
    "authz budgets list": ("budgets list", set()),
    "authz budgets remove": ("budgets remove --help", set()),
    "authz budgets set": ("budgets set 1 --user alice --per day", set()),
    "authz budgets show": ("budgets show --user alice", set()),
    "authz client": ("client openai-python", set()),
    "authz config check": ("config check", _EVERY),
    "authz config schema": ("config schema", set()),
    "authz db init": ("db init", set()),
    "authz envoy render": ("envoy render -o envoy.yaml", set()),
    "authz envoy validate": ("envoy validate", _ENVOY),
    "authz explain": ("explain --user alice --provider one", set()),
    "authz groups add": ("groups add staff alice", set()),
    "authz groups create": ("groups create research", set()),
    "authz groups delete": ("groups delete staff", set()),
    "authz groups edit": ("groups edit staff --name team", set()),
    "authz groups list": ("groups list", set()),
    "authz groups members": ("groups members staff", set()),
    "authz groups remove": ("groups remove staff alice", set()),
    "authz groups rules": ("groups rules staff --provider one", set()),
    "authz init": ("init new.yaml", set()),
    "authz limits list": ("limits list --help", set()),
    "authz limits remove": ("limits remove --help", set()),
    "authz limits set": ("limits set --help", set()),
    "authz login": ("login --user alice", set()),
    "authz login token": ("login token", set()),
    "authz machines test": ("machines test --token-file empty.log", {"issuer.crt"}),
    "authz manifests check": ("manifests check empty.log --config external.yaml", set()),
    "authz manifests envoy-gateway": (
        "manifests envoy-gateway --gateway ai/llm --config external.yaml",
        set(),
    ),
    "authz manifests istio": ("manifests istio --config external.yaml", set()),
    "authz models allow": ("models allow --help", set()),
    "authz models deny": ("models deny --help", set()),
    "authz models list": ("models list --help", set()),
    "authz models remove": ("models remove --help", set()),
    "authz notices test": ("notices test", _NOTICES),
    "authz own-keys list": ("own-keys list --user alice", set()),
    "authz own-keys remove": ("own-keys remove --help", set()),
    "authz own-keys rotate": ("own-keys rotate", {_MASTER}),
    "authz own-keys set": ("own-keys set one --user alice", {_MASTER}),
    "authz providers test": ("providers test", {"one.key", "two.key"}),
    "authz proxy ca": ("proxy ca", set()),
    "authz proxy env": ("proxy env", {".authz/ca.pem"}),
    "authz reload": ("reload", set()),
    "authz serve": ("serve", _KEYS | _CA | _AUTHZ | _NOTICES),
    "authz tokens create": ("tokens create --user alice", set()),
    "authz tokens list": ("tokens list --user alice", set()),
    "authz tokens remove": ("tokens remove --user alice spare", set()),
    "authz tokens rotate": ("tokens rotate --user alice spare", set()),
    "authz up": ("up", _EVERY),
    "authz usage": ("usage", set()),
    "authz usage export": ("usage export", set()),
    "authz usage import": ("usage import empty.log", set()),
    "authz usage price": ("usage price", set()),
    "authz users activate": ("users activate alice", set()),
    "authz users create": ("users create bob", set()),
    "authz users delete": ("users delete alice", set()),
    "authz users link": (
        "users link alice --list",
        set(),
    ),
    "authz users list": ("users list", set()),
    "authz users password": ("users password alice", set()),
    "authz users role": ("users role alice owner", set()),
    "authz users suspend": ("users suspend alice", set()),
    "authz users unlink": (
        "users unlink alice",
        set(),
    ),
}
_MORE = {
    "envoy render": ("envoy render", set()),
    "envoy render --folder": ("envoy render --folder parts", _ENVOY),
    "providers test one": ("providers test one", {"one.key"}),
}


def _run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    output = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, output.out, output.err


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """A folder with the configuration, a store and a user, and no secret."""
    monkeypatch.chdir(tmp_path)
    for name in ("AUTHZ_CONFIG", "UNSET_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "gateway.yaml").write_text(_CONFIGURATION)
    (tmp_path / "external.yaml").write_text(_EXTERNAL)
    (tmp_path / "empty.log").write_text("")
    # `login token` prints this one; the other commands get --user.
    monkeypatch.setenv("CODER_SESSION_TOKEN", "a-session")
    # Loggers would keep the captured stream, which is closed when the test ends.
    monkeypatch.setattr("authz.logs.configure", lambda *_: None)
    monkeypatch.setattr("sys.stdin", io.StringIO("a-long-enough-password\n"))
    for line in (
        "db init",
        "users create alice",
        "tokens create --user alice --name spare",
        "groups create staff",
    ):
        status, _, errors = _run(line, capsys)
        assert (status, errors) == (0, ""), line
    return tmp_path


def test_every_command_has_a_row() -> None:
    """Each command, also a new one, has a row with its needs."""
    assert isinstance(cli, click.Group)
    assert sorted(_NEEDS) == sorted(_commands("authz", cli))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("line", "names"), [*_NEEDS.values(), *_MORE.values()])
def test_a_command_needs_what_it_uses(
    line: str, names: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A command works without the secrets that it does not use, and names those that it does."""
    status, output, errors = _run(line, capsys)
    text = output + errors
    if line == "reload":
        assert "no `authz up` of this configuration runs here" in errors
    elif line.startswith("manifests check"):
        # A file without manifests lacks every one of them.
        assert (status, errors) == (1, "")
    elif not names:
        assert status == 0, errors
    else:
        assert status == 1
    if line.startswith("envoy render") and not names:
        # Envoy will need them, and the person who renders can be told.
        problems = [one for one in errors.splitlines() if "Envoy needs the file" in one]
        assert {name for name in _EVERY if f" {name}:" in "\n".join(problems)} == _ENVOY
        return
    if line != "proxy ca":
        assert {name for name in {*_EVERY, _MASTER} if f" {name}" in text} == names
