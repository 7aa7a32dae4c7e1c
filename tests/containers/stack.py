"""docker-compose.yml in a folder of its own, driven by the commands of docs/deployment.md."""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.containers.bases import REPOSITORY
from tests.support.pair import free_port, wait_until

if TYPE_CHECKING:
    from testcontainers.compose import DockerCompose

PROJECT = "authz-tests"
WAIT = 10
"""The longest wait in seconds on a quiet machine; `wait_until` waits ten times as long."""
_TOKEN = re.compile(r"\b[0-9A-Za-z]{10}-[0-9A-Za-z]{22}\b")
_PROVIDERS = {
    "https://api.anthropic.com/": "http://provider:9000/anthropic",
    "https://api.openai.com/v1/": "http://provider:9000/openai/v1",
}


def documented(heading: str) -> list[str]:
    """Return the shell blocks of a section of docs/deployment.md, unchanged."""
    page = (REPOSITORY / "docs/deployment.md").read_text()
    section = re.split(rf"^#+ {re.escape(heading)}$", page, flags=re.MULTILINE)[1]
    section = re.split(r"^##+ ", section, flags=re.MULTILINE)[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@contextlib.contextmanager
def new_stack(folder: Path) -> Iterator["Stack"]:
    """Yield a stack that is not started; in the end remove its containers, networks and volumes."""
    stack = Stack(folder)
    try:
        yield stack
    finally:
        stack.run("docker compose down --volumes --timeout 5 --remove-orphans")


@dataclass
class Stack:
    """The stack in a copy of the repository.

    Attributes:
        folder: the copy, in which the documented commands run.
        keys: the central key of each provider, which the stand-in provider accepts.
        envoys: replicas of Envoy.
        authzs: replicas of authz.
        token: a user's, created by the documented commands.
        port: where the host reaches the balancer.
        grafana_port: where the host reaches Grafana.
    """

    folder: Path
    keys: dict[str, str] = field(default_factory=dict)
    token: str = ""
    envoys: int = 1
    authzs: int = 2
    port: int = field(default_factory=free_port)
    grafana_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        """Copy the files that git knows, and point the providers at the stand-in."""
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        for name in listed.splitlines():
            if (REPOSITORY / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, self.folder / name)
        self.edit("deploy/compose/gateway.yaml", _with_stand_in)
        (self.folder / "accepted").mkdir(mode=0o755)
        for name, start in (("anthropic", "sk-ant-"), ("openai", "sk-")):
            self.accept(name, start + secrets.token_hex(16))

    def accept(self, provider: str, key: str) -> None:
        """Let the stand-in provider accept these keys and no other, one in a line."""
        self.keys[provider] = key.splitlines()[0]
        _replace(self.folder / "accepted" / provider, key, 0o644)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change a file as an editor does, by a rename."""
        file = self.folder / name
        before = file.read_text()
        after = change(before)
        assert after != before, f"the change finds nothing to change in {name}"
        _replace(file, after, file.stat().st_mode)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the documented commands."""
        return {
            **os.environ,
            "COMPOSE_FILE": "docker-compose.yml:tests/containers/override.yml",
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_PROGRESS": "quiet",
            "ENVOY_REPLICAS": str(self.envoys),
            "AUTHZ_REPLICAS": str(self.authzs),
            "GATEWAY_PORT": str(self.port),
            "GRAFANA_PORT": str(self.grafana_port),
            "ANTHROPIC_API_KEY": self.keys["anthropic"],
            "OPENAI_API_KEY": self.keys["openai"],
        }

    @cached_property
    def compose(self) -> "DockerCompose":
        """The same project, for testcontainers."""
        from testcontainers.compose import DockerCompose

        os.environ |= {
            name: value
            for name, value in self.environment.items()
            if name.startswith(("COMPOSE_", "GATEWAY_", "GRAFANA_PORT"))
        }
        return DockerCompose(self.folder)

    def run(self, script: str, timeout: float = 150) -> str:
        """Run shell lines in the folder as a reader would paste them, and return the output."""
        done = subprocess.run(
            # `timeout` also ends what the lines have started, which would hold the pipes open.
            ["timeout", "--kill-after=5", str(timeout), "sh", "-ec", script],
            cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        failed = f"no end after {timeout} s" if done.returncode == 124 else "failed"
        assert done.returncode == 0, (
            f"{failed}: {script}\n{done.stdout}\n{done.stderr}\n{self._state()}"
        )
        return done.stdout

    def start(self) -> float:
        """Start it by the documented commands; return the seconds until the first answer."""
        began = time.monotonic()
        (commands,) = documented("Start")
        self.token = find_token(self.run(commands, timeout=900))
        answer = self.models(self.token)
        assert answer.status_code == 200, answer.text
        return time.monotonic() - began

    def authz(self, *arguments: str) -> str:
        """Run a command of authz in its container."""
        output, _, _ = self.compose.exec_in_container(["authz", *arguments], "authz")
        return str(output)

    def create_token(self, user: str) -> str:
        """Return a new token of a new user."""
        self.authz("users", "create", user)
        return find_token(self.authz("tokens", "create", "--user", user))

    def scale(self, envoys: int, authzs: int) -> None:
        """Set the number of replicas, and leave the others running."""
        self.envoys, self.authzs = envoys, authzs
        self.run("docker compose up --detach --wait --no-recreate")

    def containers(self, service: str) -> list[str]:
        """Return the ids of the running containers of a service."""
        return self.run(f"docker compose ps --quiet {service}").split()

    def get(self, path: str, headers: dict[str, str]) -> httpx.Response:
        """Ask through the balancer, Envoy and authz, on a connection of its own."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=10)

    def models(self, token: str) -> httpx.Response:
        """Ask for the provider's models."""
        return self.get("/anthropic/v1/models", {"x-api-key": token})

    def wait_for(self, token: str, status: int) -> None:
        """Wait until the gateway answers with a status."""

        def answers() -> bool:
            try:
                return self.models(token).status_code == status
            except httpx.HTTPError:
                return False

        wait_until(answers, WAIT, f"status {status}")

    def _state(self) -> str:
        command = "docker compose ps --all; docker compose logs --tail 15"
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        # No secret is in a log of the stack, so a failed run in CI may show it.
        return done.stdout + done.stderr


def _with_stand_in(text: str) -> str:
    for old, new in _PROVIDERS.items():
        text = text.replace(old, new)
    return text


def _replace(file: Path, text: str, mode: int) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.chmod(mode)
    new.rename(file)


def find_token(text: str) -> str:
    """Return the token that a command printed."""
    (token,) = _TOKEN.findall(text)
    return str(token)
