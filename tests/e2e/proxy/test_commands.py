"""``authz proxy ca`` and ``authz proxy env``, as a person uses them."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from authz.certificates.ca import make_ca
from tests.e2e.proxy.pairs import ALLOWED_ADDRESS, Proxied, Tunnelled
from tests.support.certificates import Authority
from tests.support.origin import Origin

_ROOTS = Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")


def _authz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AUTHZ_")}
    return subprocess.run(
        [sys.executable, "-m", "authz", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def _certificates(file: Path) -> set[bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(file)
    return set(context.get_ca_certs(binary_form=True))


def _bash(proxy: Proxied, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in bash, after the lines that ``authz proxy env`` prints."""
    lines = proxy.pair.command("proxy", "env").stdout
    environ = {"PATH": os.environ["PATH"], "CODER_TOKEN": proxy.token}
    return subprocess.run(
        ["bash", "-c", f"{lines}\n{script}"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_env_with_curl(proxied: Proxied) -> None:
    """The output of ``authz proxy env`` is all that curl needs for a provider."""
    result = _bash(proxied, "curl -sS -w '%{http_code}' https://api.anthropic.com/v1/models")
    assert result.stderr == ""
    assert result.stdout.endswith("200")


@pytest.mark.skipif(not _ROOTS.exists(), reason="this system has no trusted roots")
def test_env_trusts_tunnelled_hosts(tunnelled: Tunnelled) -> None:
    """The lines keep this system's own roots, with which tunnelled hosts are verified."""
    assert tunnelled.origin is not None
    result = _bash(tunnelled, "echo $SSL_CERT_FILE $REQUESTS_CA_BUNDLE $CURL_CA_BUNDLE")
    (bundle,) = {Path(path) for path in result.stdout.split()}
    trusted = _certificates(bundle)
    assert _certificates(tunnelled.ca_file) < trusted
    assert _certificates(_ROOTS) < trusted
    # The origin's own CA is none of these, so that a client refuses it, and not the proxy's.
    url = f"https://{ALLOWED_ADDRESS}:{tunnelled.origin.port}/"
    strict = _bash(tunnelled, f"curl -sS {url}")
    assert strict.returncode == 60, strict.stderr


def test_env_leaves_this_machine_out(proxied: Proxied, tmp_path: Path) -> None:
    """A server on this machine, such as a local MCP server, is reached without the proxy."""
    authority = Authority(tmp_path, "local")
    httpx_get = (
        "import httpx, sys; print(httpx.get(sys.argv[1], verify=False).text, end='')"  # its own CA
    )
    with Origin("local", authority.issue()) as origin:
        url = f"https://127.0.0.1:{origin.port}/"
        for command in (
            f"curl -sSk {url}",
            f"unset no_proxy; curl -sSk https://localhost:{origin.port}/",
            f"unset NO_PROXY; curl -sSk {url}",
            f'{sys.executable} -c "{httpx_get}" {url}',
        ):
            result = _bash(proxied, command)
            assert (result.stdout, result.stderr) == ("local", ""), command


def test_env_wins_over_the_shell(proxied: Proxied) -> None:
    """Lower-case proxy variables, which most tools prefer, are replaced too."""
    result = _bash(proxied, 'echo "$HTTPS_PROXY $https_proxy $NO_PROXY $no_proxy"')
    upper, lower, direct, direct_lower = result.stdout.split()
    assert upper == lower == proxied.url
    assert direct == direct_lower == "localhost,127.0.0.1,::1"


def test_env_with_more_hosts(tmp_path: Path) -> None:
    """`proxy.no_proxy` and the gateway's own address are added to the direct hosts."""
    (tmp_path / "gateway.yaml").write_text(
        "listen: 192.0.2.7:8080\nproxy: {no_proxy: [.corp.example, 10.0.0.0/8, 'mcp.test:8443']}\n"
    )
    assert _authz(tmp_path, "proxy", "ca").returncode == 0
    lines = _authz(tmp_path, "proxy", "env").stdout.splitlines()
    hosts = "localhost,127.0.0.1,::1,192.0.2.7,.corp.example,10.0.0.0/8,mcp.test:8443"
    assert [line for line in lines if "o_proxy" in line.lower()] == [
        f"export NO_PROXY={hosts}",
        f"export no_proxy={hosts}",
    ]


def test_env_for_node(proxied: Proxied) -> None:
    """Node gets only the proxy's CA, since it adds its file to its own roots."""
    result = _bash(proxied, "echo $NODE_EXTRA_CA_CERTS")
    assert Path(result.stdout.strip()) == proxied.ca_file.resolve()


def test_env_with_tls_listener(proxied_tls: Proxied) -> None:
    """A proxy with a TLS listener is named by an https URL; ``--token`` writes the token itself."""
    lines = proxied_tls.pair.command("proxy", "env", "--token", "the-token").stdout.splitlines()
    assert f'export HTTPS_PROXY="https://coder:the-token@127.0.0.1:{proxied_tls.port}"' in lines


def test_env_quotes_paths(tmp_path: Path) -> None:
    """A folder name with a blank and a dollar sign works."""
    folder = tmp_path / "a $HOME b"
    folder.mkdir()
    (folder / "gateway.yaml").write_text("proxy: {}\n")
    assert _authz(folder, "proxy", "ca").returncode == 0
    lines = _authz(folder, "proxy", "env").stdout
    result = subprocess.run(
        ["bash", "-c", f'{lines}\ncat "$NODE_EXTRA_CA_CERTS"'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == (folder / ".authz" / "ca.pem").read_text()


def test_ca(tmp_path: Path) -> None:
    """``authz proxy ca`` creates a certificate of the given name, and a key for its owner only."""
    result = _authz(tmp_path, "proxy", "ca", "--name", "Example Corp")
    assert result.returncode == 0, result.stderr
    certificate = x509.load_pem_x509_certificate((tmp_path / ".authz" / "ca.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=Example Corp"
    assert (tmp_path / ".authz" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".authz").stat().st_mode & 0o777 == 0o700
    bundle = tmp_path / ".authz" / "ca-bundle.pem"
    assert _certificates(tmp_path / ".authz" / "ca.pem") < _certificates(bundle)
    assert "PRIVATE KEY" not in bundle.read_text()


def test_ca_is_not_replaced(tmp_path: Path) -> None:
    """An existing key is left unchanged, and the line names its file."""
    present = "ca-key.pem"
    folder = tmp_path / ".authz"
    folder.mkdir()
    (folder / present).write_text("precious")
    result = _authz(tmp_path, "proxy", "ca")
    assert result.returncode == 1
    assert f"{present} exists already" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (folder / present).read_text() == "precious"
    assert {path.name for path in folder.iterdir()} == {present}


def test_ca_with_impossible_name(tmp_path: Path) -> None:
    """A name that is invalid in a certificate is wrong usage, and nothing is created."""
    result = _authz(tmp_path, "proxy", "ca", "--name", "x" * 65)
    assert result.returncode == 2
    assert "--name" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_env_without_proxy(tmp_path: Path) -> None:
    """The error without a ``proxy`` section says what to add."""
    (tmp_path / "gateway.yaml").write_text("{}\n")
    result = _authz(tmp_path, "proxy", "env")
    assert result.returncode == 1
    assert result.stderr == "authz: proxy: the proxy is off: add `proxy: {}` to gateway.yaml\n"


def test_env_without_ca(tmp_path: Path) -> None:
    """The error without a CA says how to create one, and no lines are printed."""
    (tmp_path / "gateway.yaml").write_text("proxy: {}\n")
    result = _authz(tmp_path, "proxy", "env")
    assert result.returncode == 1
    assert "run `authz proxy ca`" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "ca-key.pem").chmod(0o644), "others can read it"),
        (lambda folder: (folder / "ca-key.pem").unlink(), "run `authz proxy ca`"),
        (lambda folder: _mismatch(folder), "does not match the certificate"),
    ],
    ids=["readable key", "no key", "mismatch"],
)
def test_unusable_ca_stops_the_start(tmp_path: Path, break_it: object, said: str) -> None:
    """An unusable CA stops the start of the service with one line that gives the reason."""
    settings = {
        "proxy": {"ca": {"cert_file": "ca.pem", "key_file": "ca-key.pem"}},
        "authz": {"grpc": "unix:./authz.sock"},
        "providers": [
            {"name": "openai", "type": "openai", "base_url": "https://api.openai.com/v1"}
        ],
    }
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(settings))
    make_ca(tmp_path / "ca.pem", tmp_path / "ca-key.pem", "Test")
    assert callable(break_it)
    break_it(tmp_path)
    result = _authz(tmp_path, "serve")
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("authz: ")
    assert said in lines[0]
    assert "Traceback" not in result.stderr


def _mismatch(folder: Path) -> None:
    (folder / "ca-key.pem").unlink()
    make_ca(folder / "other.pem", folder / "ca-key.pem", "Other")
