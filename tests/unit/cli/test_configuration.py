"""``authz config check``, by its exit status and its lines."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from authz.certificates import ca
from tests.support.certificates import Authority
from tests.support.command import run_in_process


def _check(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    (folder / "gateway.yaml").write_text(text)
    return run_in_process(folder, "config", "check", environ=os.environ)


def test_a_wrong_configuration_fails_the_command(tmp_path: Path) -> None:
    """A wrong configuration exits 1 and names the key, as pipelines need; a right one exits 0."""
    for text, status in (("bogus: 1\n", 1), ("allow_byok: true\n", 0)):
        done = _check(tmp_path, text)
        assert done.returncode == status
        assert ("bogus: unknown key" in done.stderr) == (status == 1)


def test_a_book_of_prices_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    """The command reports an unknown book of prices before authz is started."""
    done = _check(tmp_path, "prices: {books: {openai: opnai}}\n")
    assert done.returncode == 1
    assert "prices.books.openai: must be one of none" in done.stderr


def _proxy(cert_file: str, key_file: str) -> dict[str, Any]:
    return {"proxy": {"ca": {"cert_file": cert_file, "key_file": key_file}}}


def _expired(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(ca, "CA_LIFETIME", -ca.CLOCK_SKEW / 2)
    ca.make_ca(folder / "old.pem", folder / "old.key", "Old")
    [old] = x509.load_pem_x509_certificates((folder / "old.pem").read_bytes())
    assert old.not_valid_before_utc < old.not_valid_after_utc


_PROVIDER = {"name": "a", "type": "openai", "base_url": "https://a.example/v1"}
_FILES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "missing CA": (lambda: _proxy("none.pem", "none.key"), "proxy.ca: none.pem is not there"),
    "no CA": (lambda: _proxy("leaf.pem", "leaf.key"), "proxy.ca.cert_file: the certificate is not"),
    "other key": (lambda: _proxy("good.pem", "leaf.key"), "proxy.ca: the key does not match the"),
    "expired CA": (lambda: _proxy("old.pem", "old.key"), "proxy.ca.cert_file: the certificate has"),
    "no PEM": (lambda: _proxy("text", "text"), "proxy.ca: the files are not a PEM"),
    "provider": (
        lambda: {"providers": [{**_PROVIDER, "ca_file": "text"}]},
        "providers[0].ca_file: text holds no PEM certificates",
    ),
    "identity": (
        lambda: {"identity": "https://coder.example", "identity_ca_file": "text"},
        "identity_ca_file: text holds no PEM certificates",
    ),
    "tls": (lambda: {"tls": {"cert_file": "good.pem", "key_file": "leaf.key"}}, "tls: cert_file"),
    "proxy.tls": (
        lambda: {
            "proxy": {
                **_proxy("good.pem", "good.key")["proxy"],
                "tls": {"cert_file": "good.pem", "key_file": "leaf.key"},
            }
        },
        "proxy.tls: cert_file and key_file are not a matching PEM pair",
    ),
}


@pytest.mark.parametrize("case", _FILES)
def test_certificate_files(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable certificate file gives one line that names its key, and exit status 1."""
    cert_file, key_file = Authority(tmp_path, "issuer").issue()
    cert_file.rename(tmp_path / "leaf.pem")
    key_file.rename(tmp_path / "leaf.key")
    (tmp_path / "leaf.key").chmod(0o600)
    ca.make_ca(tmp_path / "good.pem", tmp_path / "good.key", "Good")
    _expired(monkeypatch, tmp_path)
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "text").chmod(0o600)
    settings, line = _FILES[case]
    done = _check(tmp_path, yaml.safe_dump(settings()))
    assert done.stdout == ""
    assert done.returncode == 1
    assert re.match(rf"gateway\.yaml:\d+: {re.escape(line)}", done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_good_certificate_files(tmp_path: Path) -> None:
    """Files that can do their work pass."""
    authority = Authority(tmp_path, "issuer")
    cert_file, key_file = authority.issue()
    ca.make_ca(tmp_path / "good.pem", tmp_path / "good.key", "Good")
    tls = {"cert_file": str(cert_file), "key_file": str(key_file)}
    settings = {
        **_proxy("good.pem", "good.key"),
        "tls": tls,
        "providers": [{**_PROVIDER, "ca_file": str(authority.ca_file)}],
    }
    done = _check(tmp_path, yaml.safe_dump(settings))
    assert (done.returncode, done.stderr) == (0, "")


_FIVE = """\
listn: 127.0.0.1:1
listen: 8080
providers:
  - name: a
    type: openai
    base_url: https://api.openai.com
    key: sk-0123456789abcdef0123
  - {name: a, type: anthropic, base_url: 'https://b.example', key: {file: nowhere}}
authz: {http: 127.0.0.1:9000}
envoy: {metrics: 127.0.0.1:9000, drain_timeout: soon}
proxy: {}
"""


@pytest.mark.parametrize(
    "command",
    ["config check", "up", "serve", "envoy render", "envoy render --folder x", "reload"],
)
def test_all_at_once(command: str, tmp_path: Path) -> None:
    """Every command lists all problems in the order of their lines: of values, of rules, of files.

    `envoy render` and `reload` read neither keys nor the CA; the pair that reloads does.
    """
    (tmp_path / "gateway.yaml").write_text(_FIVE)
    done = subprocess.run(
        [sys.executable, "-m", "authz", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    lines = [line.removeprefix("authz: ") for line in done.stderr.splitlines()]
    if command == "reload":
        lines = lines[0].partition("nothing has changed: ")[2].split("; ")
    expected = [
        "gateway.yaml:1: listn: unknown key: did you mean listen?",
        "gateway.yaml:2: listen: use HOST:PORT, for example 127.0.0.1:8080",
        "gateway.yaml:3: providers: these names are used twice: a",
        "gateway.yaml:6: providers[0].base_url: can't work with the path /: use ",
        "gateway.yaml:7: providers[0].key: use {env: NAME}, {file: PATH}, {exec: ",
        "gateway.yaml:8: providers[1].key.file: nowhere: No such file or directory",
        "gateway.yaml:10: envoy.drain_timeout: must be a number of seconds or a duration",
        "gateway.yaml:10: envoy.metrics: 127.0.0.1:9000 is the address of authz.http too",
        "gateway.yaml:11: proxy.ca: .authz/ca.pem is not there: run `authz proxy ca`",
    ]
    if "render" in command or command == "reload":
        expected = [line for line in expected if ".ca: " not in line and ".key.file" not in line]
    if command == "reload":
        # A key holds a semicolon.
        lines = [line for line in lines if line.startswith("gateway.yaml")]
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)
    assert "sk-0123456789" not in done.stderr


def test_warnings(tmp_path: Path) -> None:
    """A public listener without TLS is a warning with its line, and the command succeeds."""
    done = _check(tmp_path, "# mine\nlisten: 0.0.0.0:8080\n")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: gateway.yaml:2: listen: 0.0.0.0:8080 is reachable")


def test_says_which_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid configuration is followed by what each provider can be asked with."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert _check(tmp_path, "").stdout.splitlines() == [
        "anthropic    central key",
        "openai       no key: set $OPENAI_API_KEY",
        "chatgpt      own key only",
        "copilot      own key only",
        "The configuration is valid.",
    ]


def test_the_page_about_it(tmp_path: Path) -> None:
    """The example of docs/configuration.md prints exactly what the page shows."""
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    example, printed = re.findall(r"^```(?:yaml)?\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[:2]
    assert _check(tmp_path, example).stderr == printed


def test_rows_that_cannot_be_written_are_noted(tmp_path: Path) -> None:
    """A usage database that can't be made is named in a note, with the reason."""
    (tmp_path / "state").write_text("a file where a folder has to be")
    identity = "identity: https://coder.example.com\n"
    done = _check(tmp_path, identity + "usage: {database: 'sqlite:///./state/usage.db'}\n")
    assert done.returncode == 0
    assert "note: usage: no request can be recorded: state/usage.db can't be created" in done.stdout
    assert "note: usage" in _check(tmp_path, identity).stdout
    done = _check(tmp_path, identity + "usage: {database: 'sqlite:///./usage.db'}\n")
    assert "note: usage" not in done.stdout
    assert not (tmp_path / "usage.db").exists()
