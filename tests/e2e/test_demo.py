"""``authz up --demo``: the lines it prints work unchanged."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.pair import Pair, Provider, _environment, pair
from tests.support.processes import running_in

KEY = re.compile(r"sk-(?:ant-)?demo-[0-9a-f]{32}")


@pytest.fixture(scope="module", params=["byok", "no byok"])
def demo(request: pytest.FixtureRequest, provider: Provider) -> Iterator[Pair]:
    """A demo pair in its first start, with BYOK on and off."""
    with pair(provider, start=False) as running:
        # The default providers: `--demo` must keep their names and ask none of their real hosts.
        del running.settings["providers"]
        arguments = [] if request.param == "byok" else ["--aibridge-allow-byok=false"]
        running.start("--demo", *arguments)
        yield running


def _lines(running: Pair, start: str) -> list[str]:
    return [line.strip() for line in running.stdout.splitlines() if line.startswith(f"  {start}")]


def _pasted(running: Pair, line: str) -> tuple[int, str]:
    """Paste a curl line into bash, as a person does, and return the status and the output."""
    (export,) = _lines(running, "export CODER_TOKEN=")
    script = f"set -e\n{export}\n{line} --silent --show-error --write-out '\\n%{{http_code}}'"
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=running.folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    text, _, status = result.stdout.rpartition("\n")
    return int(status), text


def _allows_byok(running: Pair) -> bool:
    return any("own" in line for line in running.stdout.splitlines() if line.startswith("curl"))


def _blocks(running: Pair) -> list[str]:
    """Return the groups of lines in brackets, as a person would copy them."""
    return re.findall(r"^  \(\n.*?^  \)$", running.stdout, re.MULTILINE | re.DOTALL)


CLAUDE = """#!/bin/sh
[ "$1 $2" = "-p Hello" ] || exit 1
exec curl --silent --show-error --fail "$ANTHROPIC_BASE_URL/v1/messages" \\
    -H "authorization: Bearer $ANTHROPIC_AUTH_TOKEN" -H 'anthropic-version: 2023-06-01' \\
    -d '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}'
"""
CODEX = f"""#!{sys.executable}
import os, sys, tomllib
import httpx
settings = [value for option, value in zip(sys.argv, sys.argv[1:]) if option == "-c"]
config = tomllib.loads("\\n".join(settings[1:]))["model_providers"]["gateway"]
assert settings[0] == "model_provider=gateway" and sys.argv[-1] == "Hello"
token = os.environ[config["env_key"]]
body = {{"model": "m", "input": "Hello"}}
headers = {{"authorization": f"Bearer {{token}}"}}
print(httpx.post(config["base_url"] + "/responses", json=body, headers=headers).text)
"""
"""Stand-ins that use the lines as the clients do, as far as it concerns reaching the gateway;
tests/clients runs the real ones with lines from the same data."""


def test_every_curl_line_works_as_it_stands(demo: Pair) -> None:
    """Each curl line of the banner, pasted into bash behind its export line, gives 200."""
    lines = _lines(demo, "curl ")
    assert len(lines) == (4 if _allows_byok(demo) else 2)
    kinds = []
    for line in lines:
        status, text = _pasted(demo, line)
        assert status == 200, text
        assert "Hello from the stand-in provider" in text
        kinds.append("byok" if "Credential: byok" in text else "centralized")
    assert kinds == (["centralized", "byok"] * 2 if _allows_byok(demo) else ["centralized"] * 2)


def test_own_key_follows_the_setting(demo: Pair) -> None:
    """A request with an own key is 403 if BYOK is off; one without a key always passes."""
    (export,) = _lines(demo, "export CODER_TOKEN=")
    token = export.partition("=")[2]
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    url = f"{demo.url}/anthropic/v1/messages"
    governance = {"x-coder-ai-governance-token": token}
    with_key = httpx.post(url, headers={**governance, "x-api-key": "sk-ant-my-own-key"}, json=body)
    without_key = httpx.post(url, headers=governance, json=body)
    assert without_key.status_code == 200
    assert with_key.status_code == (200 if _allows_byok(demo) else 403)
    if with_key.status_code == 403:
        error = with_key.json()["error"]
        assert error["type"] == "permission_error"
        assert "allow_byok" in error["message"]


def test_the_lines_of_the_clients_work(demo: Pair, tmp_path: Path) -> None:
    """The lines of Claude Code and Codex set an address and a token that pass, and no more."""
    for name, text in (("claude", CLAUDE), ("codex", CODEX)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    (export,) = _lines(demo, "export CODER_TOKEN=")
    blocks = _blocks(demo)
    assert len(blocks) == 2
    for block in blocks:
        left = "echo left:$ANTHROPIC_AUTH_TOKEN$ANTHROPIC_BASE_URL$OPENAI_API_KEY"
        said = subprocess.run(
            ["bash", "-c", f"set -e\n{export}\n{block}\n{left}"],
            env={**_environment(), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        assert "Hello from the stand-in provider" in said.stdout
        assert said.stdout.endswith("left:\n")


def test_the_lines_of_a_later_start_work(provider: Provider, tmp_path: Path) -> None:
    """The line that creates a token works from any folder, whatever users the store has."""
    with pair(provider, start=False) as running:
        running.create_user("alice")
        running.start("--config", "gateway.yaml")
        assert "shown only once" not in running.stdout
        (export,) = _lines(running, "export CODER_TOKEN=")
        for line in [f"{export}\n{curl}" for curl in _lines(running, "curl ")][::2]:
            said = subprocess.run(
                ["bash", "-c", f"set -e\n{line} --silent --show-error --fail"],
                cwd=tmp_path,
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert "Hello from the stand-in provider" in said.stdout, said.stderr
        (other,) = re.findall(r"^  \((cd .* client.*)\)$", running.stdout, re.MULTILINE)
        listed = subprocess.check_output(["bash", "-c", other], cwd=tmp_path, text=True)
        assert "claude-code" in listed


def test_demo_keeps_the_providers(demo: Pair) -> None:
    """The default providers are listed by name, and none of them points outside this machine."""
    for name in ("anthropic", "openai", "chatgpt", "copilot"):
        assert re.search(rf"^  {name} +{re.escape(demo.url)}/", demo.stdout, re.MULTILINE)
    files = list(demo.folder.glob("envoy-*/**/*.json"))
    assert len(files) >= 4
    text = "".join(file.read_text() for file in files)
    assert "api.anthropic.com" not in text
    assert "chatgpt.com" not in text


def test_demo_keys_are_private(demo: Pair) -> None:
    """The made-up central keys are in files of mode 0600 and in no output."""
    keys = list(demo.folder.glob("demo-*/*.key"))
    assert len(keys) == 2
    for file in keys:
        key = file.read_text()
        assert KEY.fullmatch(key)
        assert file.stat().st_mode & 0o777 == 0o600
        assert key not in demo.stdout + demo.stderr
        assert key not in " ".join(running_in(demo.folder).values())


def test_demo_takes_no_real_keys(provider: Provider) -> None:
    """No real key is at risk with --demo: a provider's key file is not even opened."""
    with pair(provider, start=False) as running:
        folder, pipe, *_ = sorted(running.folder.glob("*.key"))
        folder.unlink()
        folder.mkdir()
        pipe.unlink()
        # Whoever opened it would wait for ever.
        os.mkfifo(pipe)
        running.start("--demo")
        for line in _lines(running, "curl "):
            status, text = _pasted(running, line)
            assert status == 200, text


def test_demo_has_the_keys_and_fallbacks_of_a_provider(provider: Provider, tmp_path: Path) -> None:
    """A pool and its fallback are kept: after a wrong key the next one answers, then the other."""
    with pair(provider, start=False) as running:
        pool = [{"file": str(tmp_path / "one")}, {"file": str(tmp_path / "two")}]
        running.settings["providers"] = [
            {
                "name": "anthropic",
                "type": "anthropic",
                "base_url": "https://api.anthropic.com/",
                "keys": pool,
                "fallback": ["mirror"],
                "first_byte_timeout": "30s",
                "outlier_detection": {"request_volume": 7},
            },
            {
                "name": "mirror",
                "type": "anthropic",
                "base_url": "https://llm.example.com/",
                "key": {"file": str(tmp_path / "three")},
            },
        ]
        running.start("--demo")
        (folder,) = running.folder.glob("demo-*")
        first, second = (folder / f"anthropic-{number}.key" for number in (1, 2))
        for wrong, answers in ((first, second), (second, folder / "mirror.key")):
            changed = tmp_path / "changed"
            changed.write_text(f"sk-ant-wrong-{wrong.stem}")
            changed.replace(wrong)
            status, text = _pasted(running, _lines(running, "curl ")[0])
            assert status == 200, text
            assert f"centralized, sk-a...{answers.read_text()[-4:]} in x-api-key" in text
        served = yaml.safe_load((folder / "gateway.yaml").read_text())["providers"][0]
        assert served["first_byte_timeout"] == 30
        assert served["outlier_detection"]["request_volume"] == 7
