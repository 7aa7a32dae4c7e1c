"""The catalogue, what ``authz client`` prints, and the pages of docs/clients."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from authz.cli.client import client
from authz.clients.catalog import MODES, Client, clients
from authz.clients.pages import pages, summary
from authz.clients.rendering import PLACEHOLDERS, fill, urls
from authz.config.settings import Config
from authz.errors import ConfigError

ROOT = Path(__file__).parents[3]
ALL = pytest.mark.parametrize("one", clients().values(), ids=clients())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, without a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTHZ_CONFIG", raising=False)


def _print(*line: str) -> Result:
    return CliRunner().invoke(client, line)


@ALL
def test_modes(one: Client) -> None:
    """Every client has lines for each mode, or the reason why not."""
    assert set(one.lines) <= set(MODES)
    for mode in MODES:
        assert one.lines.get(mode) or one.tested.reasons.get(mode), mode
    assert set(one.tested.reasons) <= set(MODES)


@ALL
def test_lines_are_shell(one: Client) -> None:
    """Bash can read the lines, every placeholder is filled, and no line holds a token."""
    for kinds in one.lines.values():
        for lines in kinds.values():
            filled = fill(lines, urls(Config()))
            assert not any(placeholder in filled for placeholder in PLACEHOLDERS.values())
            assert re.search(r"sk-|[0-9A-Za-z]{10}-[0-9A-Za-z]{22}", filled) is None
            read = subprocess.run(
                ["bash", "-n"], input=filled, text=True, capture_output=True, check=False
            )
            assert read.stderr == ""


def test_data_files() -> None:
    """There is one data file for each client that is tested, and no other."""
    files = (ROOT / "authz" / "clients" / "data").glob("*.yaml")
    assert {file.stem for file in files} == set(clients())


@pytest.mark.usefixtures("folder")
def test_list() -> None:
    """Without a name the clients are listed."""
    result = _print()
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(clients())


@pytest.mark.usefixtures("folder")
@ALL
def test_prints_for_this_gateway(one: Client) -> None:
    """The printed lines name this gateway's address and providers."""
    settings = {
        "listen": "0.0.0.0:8443",
        "proxy": {},
        "providers": [
            {
                "name": "claude",
                "type": "anthropic",
                "base_url": "https://api.anthropic.com",
                "key": {"file": "key"},
            },
            {
                "name": "gpt",
                "type": "openai",
                "base_url": "https://api.openai.com/v1",
                "key": {"file": "key"},
            },
            {
                "name": "plan",
                "type": "openai",
                "base_url": "https://chatgpt.com/backend-api/codex",
            },
        ],
    }
    Path("gateway.yaml").write_text(yaml.safe_dump(settings))
    Path("key").write_text("sk-0123456789")
    result = _print(one.name)
    assert result.exit_code == 0, result.output
    found = set(re.findall(r"http://[^\s\"',]+", result.stdout))
    base = "http://127.0.0.1:8443/api/v2/ai-gateway"
    assert found
    # The bare address is that of the sign-in from Claude Code.
    assert {url.removesuffix("/v1") for url in found} <= {
        "http://127.0.0.1:8443",
        *(f"{base}/{name}" for name in ("claude", "gpt", "plan")),
    }
    assert "not available" not in result.stdout
    assert "$CODER_TOKEN" in result.stdout


@pytest.mark.usefixtures("folder")
def test_says_what_is_missing() -> None:
    """The output names what this gateway can't do, instead of printing lines for it."""
    settings = {
        "allow_byok": False,
        "providers": [
            {"name": "claude", "type": "anthropic", "base_url": "https://api.anthropic.com"}
        ],
    }
    Path("gateway.yaml").write_text(yaml.safe_dump(settings))
    said = _print("claude-code").stdout
    assert "# not available: allow_byok is false" in said
    assert "# not available: claude has no central key" in said
    assert "ANTHROPIC_BASE_URL" not in said
    assert "# not available: gateway.yaml has no proxy section" in said
    assert "ANTHROPIC_CUSTOM_HEADERS" not in said
    assert "# not available: gateway.yaml has no provider for openai" in _print("codex").stdout


@pytest.mark.usefixtures("folder")
def test_a_model_on_this_machine() -> None:
    """Without OpenAI itself, the lines for its format name the first provider that speaks it."""
    local = {"name": "local", "type": "openai-compat", "base_url": "http://127.0.0.1:11434/v1"}
    Path("gateway.yaml").write_text(yaml.safe_dump({"providers": [{**local, "key": "none"}]}))
    said = _print("openai-python").stdout
    assert "/api/v2/ai-gateway/local/v1" in said
    real = {"name": "gpt", "type": "openai", "base_url": "https://api.openai.com/v1"}
    Path("gateway.yaml").write_text(yaml.safe_dump({"providers": [local, real]}))
    said = _print("openai-python").stdout
    assert "/api/v2/ai-gateway/gpt/v1" in said
    assert "local" not in said


@pytest.mark.usefixtures("folder")
def test_says_that_a_key_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines for the company's key say if its variable is not set here."""
    hint = "# needs a central key at the gateway; $ANTHROPIC_API_KEY is not set"
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert hint in _print("claude-code").stdout
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    assert hint not in _print("claude-code").stdout


@pytest.mark.usefixtures("folder")
def test_unknown_name() -> None:
    """An unknown client is an error of one line."""
    result = _print("no-such-client")
    assert isinstance(result.exception, ConfigError)
    assert "no-such-client" in str(result.exception)


@pytest.mark.usefixtures("folder")
def test_docs_option(tmp_path: Path) -> None:
    """``--docs`` writes every page into a folder, and takes no name."""
    assert _print("--docs", "made").exit_code == 0
    assert {file.name for file in (tmp_path / "made").iterdir()} == set(pages())
    assert _print("--docs", "made", "codex").exit_code == 2


def test_pages_are_fresh() -> None:
    """docs/clients is what the data says; `authz client --docs docs/clients` makes it again."""
    there = {file.name: file.read_text() for file in (ROOT / "docs" / "clients").iterdir()}
    assert there == pages()


def test_readme_is_fresh() -> None:
    """README.md has the table that ``authz.clients.pages.summary`` makes."""
    assert summary(list(clients().values())) in (ROOT / "README.md").read_text()


@pytest.mark.usefixtures("folder")
def test_login_at_the_public_url() -> None:
    """The managed settings of Claude Code name the public URL where one is set."""
    Path("gateway.yaml").write_text("sign_in: {url: https://gateway.example}\n")
    assert '"forceLoginGatewayUrl": "https://gateway.example"' in _print("claude-code").output
