"""Builds wheel and sdist, checks them, and runs the gateway from the wheel alone.

``make release-check`` runs it with the tools of ``requirements/release.txt``. The wheel is
installed into an empty environment with the locked dependencies, and `authz up --demo` answers one
request from there. ``dist/`` holds the two files afterwards.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
START_SECONDS = 120
STOP_SECONDS = 60
TOKEN = re.compile(r"^  export CODER_TOKEN=([0-9A-Za-z]{10}-[0-9A-Za-z]{22})$", re.MULTILINE)


def main() -> None:
    """Run all steps; an error ends the process with its command or a line."""
    version = _version()
    shutil.rmtree(DIST, ignore_errors=True)
    _step("build sdist, and the wheel from it")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT)
    expected = {
        f"ai_gateway_authz-{version}-py3-none-any.whl",
        f"ai_gateway_authz-{version}.tar.gz",
    }
    found = {path.name for path in DIST.iterdir()}
    if found != expected:
        sys.exit(f"dist/ holds {sorted(found)}, not {sorted(expected)}")
    _step("check the metadata")
    _run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    with tempfile.TemporaryDirectory(prefix="authz-release-") as name:
        folder = Path(name)
        _install(folder / "environment", next(DIST.glob("*.whl")))
        work = folder / "work"
        work.mkdir()
        _try(folder / "environment" / "bin" / "authz", work, version)
    print("The release is good: " + ", ".join(sorted(expected)), flush=True)


def _version() -> str:
    match = re.search(r'__version__ = "(.+)"', (ROOT / "authz" / "__init__.py").read_text())
    if match is None:
        sys.exit("authz/__init__.py has no version")
    return match[1]


def _install(environment: Path, wheel: Path) -> None:
    _step("install the wheel into an empty environment")
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    lock = ROOT / "requirements" / "run.txt"
    _run(*pip, "install", "--no-deps", "--require-hashes", "-r", lock)
    # Without an index this succeeds only if the lock has everything that the wheel asks for.
    _run(*pip, "install", "--no-index", f"{wheel}[up,otel]")
    _run(*pip, "check")


def _try(authz: Path, folder: Path, version: str) -> None:
    """Run the commands of a first start in an empty folder, outside of the repository."""
    _step("run the gateway from the wheel")
    shown = _output(authz, "--version", folder=folder)
    if shown != f"authz, version {version}\n":
        sys.exit(f"authz --version printed {shown!r}")
    _output(authz, "init", folder=folder)
    _output(authz, "client", folder=folder)
    file = folder / "gateway.yaml"
    text = file.read_text()
    for port in ("8080", "8081"):
        text = re.sub(rf"^(.*127\.0\.0\.1):{port}$", rf"\1:{_free_port()}", text, flags=re.M)
    file.write_text(text)
    _output(authz, "config", "check", folder=folder)
    log = folder / "up.log"
    with log.open("w") as written:
        running = subprocess.Popen(
            [authz, "up", "--demo"],
            cwd=folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    try:
        banner = _banner(running, log)
        _request(banner)
    finally:
        running.send_signal(signal.SIGINT)
        status = running.wait(STOP_SECONDS)
    if status != 0:
        sys.exit(f"authz up ended with {status}:\n{log.read_text()}")


def _banner(running: "subprocess.Popen[str]", log: Path) -> str:
    lines = []
    assert running.stdout is not None
    end = time.monotonic() + START_SECONDS
    for line in running.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            return "".join(lines)
        if time.monotonic() > end:
            break
    sys.exit(f"authz up did not get ready:\n{log.read_text()}")


def _request(banner: str) -> None:
    url = re.search(r"^  anthropic +(\S+)$", banner, re.MULTILINE)
    token = TOKEN.search(banner)
    if url is None or token is None:
        sys.exit(f"authz up printed no base URL or token:\n{banner}")
    message = {"role": "user", "content": "Hello"}
    body = {"model": "claude-sonnet-4-5", "max_tokens": 16, "messages": [message]}
    request = urllib.request.Request(  # noqa: S310 - an address of this machine
        f"{url[1]}/v1/messages",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "x-api-key": token[1]},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=30) as response:
        answer = json.load(response)
    if answer.get("type") != "message":
        sys.exit(f"the gateway answered {answer}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """Return the environment without variables that lead back into the repository."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _output(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _run(*command: str | Path) -> None:
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"failed: {shlex.join(map(str, command))}")


def _step(text: str) -> None:
    print(f"--- {text}", flush=True)


if __name__ == "__main__":
    main()
