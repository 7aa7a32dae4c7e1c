"""``authz up --demo``: what it prints works as it stands."""

import os
import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.support.pair import Pair, Provider, _environment, pair
from tests.support.processes import running_in

KEY = re.compile(r"sk-(?:ant-)?demo-[0-9a-f]{32}")


@pytest.fixture(scope="module", params=["byok", "no byok"])
def demo(request: pytest.FixtureRequest, provider: Provider) -> Iterator[Pair]:
    """A demo pair that is in its first start, with BYOK on and off."""
    with pair(provider, start=False) as running:
        # The default providers: `--demo` must keep their names and ask none of their real hosts.
        del running.settings["providers"]
        arguments = [] if request.param == "byok" else ["--aibridge-allow-byok=false"]
        running.start("--demo", *arguments)
        yield running


def _lines(running: Pair, start: str) -> list[str]:
    return [line.strip() for line in running.stdout.splitlines() if line.startswith(f"  {start}")]


def _pasted(running: Pair, line: str) -> tuple[int, str]:
    """Paste a curl line into bash, as a person does, and return the status and what it printed."""
    (export,) = _lines(running, "export CODER_TOKEN=")
    script = f"set -e\n{export}\n{line} --silent --show-error --write-out '\\n%{{http_code}}'"
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=running.folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    text, _, status = result.stdout.rpartition("\n")
    return int(status), text


def _allows_byok(running: Pair) -> bool:
    return any("own" in line for line in running.stdout.splitlines() if line.startswith("curl"))


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
    """A request with a key of its own is 403 where BYOK is off; one without passes always."""
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


def test_shell_lines_are_whole(demo: Pair) -> None:
    """Every other line to paste is valid shell too."""
    pasted = _lines(demo, "ANTHROPIC_BASE_URL=") + _lines(demo, "OPENAI_API_KEY=")
    assert len(pasted) == 2
    for line in pasted:
        subprocess.run(["bash", "-n", "-c", line], check=True)


def test_demo_keeps_the_providers(demo: Pair) -> None:
    """The default providers are there by name, and none of them points outside this machine."""
    for name in ("anthropic", "openai", "chatgpt", "copilot"):
        assert re.search(rf"^  {name} +{re.escape(demo.url)}/", demo.stdout, re.MULTILINE)
    (rendered,) = demo.folder.glob("envoy-*.yaml")
    text = rendered.read_text()
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
    """With --demo a provider's key file is not even opened, so that no real key is at risk."""
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
