"""Events of the stack: each one breaks a part, and repairs it when its block ends."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from tests.containers.stack import PROJECT, Stack, documented

Sees = Literal["nothing", "cuts", "503", "outage", "start"]


@dataclass(frozen=True)
class Event:
    """Something that happens to the stack under load.

    Attributes:
        name: as docs/replicas.md words it.
        happens: breaks the stack, and repairs it at the end of the block.
        sees: what a client may see meanwhile: nothing; its connection cut, and no wrong answer; or
            a 503 until the repair; no connection until the repair; or no connection and then 503s
            until all parts have started.
    """

    name: str
    happens: Callable[[Stack], AbstractContextManager[None]]
    sees: Sees


def _command(break_: str, repair: str, service: str, *, every: bool = False) -> Callable[
    [Stack], AbstractContextManager[None]
]:  # fmt: skip
    """Return an event of docker's commands on one container of a service, or on each."""

    @contextlib.contextmanager
    def happens(stack: Stack) -> Iterator[None]:
        containers = stack.containers(service)
        targets = " ".join(containers if every else containers[:1])
        stack.run(f"docker {break_} {targets}")
        try:
            yield
        finally:
            if repair:
                stack.run(f"docker {repair} {targets}")

    return happens


def _cut(service: str, network: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """Return an event in which a service's containers leave a network and come back."""

    @contextlib.contextmanager
    def happens(stack: Stack) -> Iterator[None]:
        containers = stack.containers(service)
        name = f"{PROJECT}_{network}"
        for container in containers:
            stack.run(f"docker network disconnect {name} {container}")
        try:
            yield
        finally:
            for container in containers:
                stack.run(f"docker network connect --alias {service} {name} {container}")

    return happens


@contextlib.contextmanager
def _all_restarted(stack: Stack) -> Iterator[None]:
    stack.run("docker compose restart")
    yield


@contextlib.contextmanager
def _replaced(stack: Stack, service: str) -> Iterator[None]:
    stack.run(f"deploy/compose/replace.sh {service}")
    yield


_OTHER_CA = """
sh /usr/local/lib/certificates.sh /tmp/other authz
for file in tls.key ca.crt tls.crt; do
    cp /tmp/other/authz/$file /run/certificates/authz/.new
    mv /run/certificates/authz/.new /run/certificates/authz/$file
done
"""


@contextlib.contextmanager
def _another_authority(stack: Stack) -> Iterator[None]:
    """Give authz a certificate of another CA for new connections, and renew it at the end."""
    stack.run(f"docker compose run --rm --no-deps -T --entrypoint sh prepare -ec '{_OTHER_CA}'")
    restart = "docker restart --time 5 " + " ".join(stack.containers("authz"))
    stack.run(restart)
    try:
        yield
    finally:
        renew(stack)


def renew(stack: Stack) -> None:
    """Renew the certificates of both sides by the documented command, as if they ended soon."""
    (command,) = documented("New certificates")
    days30, years3 = "-checkend 2592000", "-checkend 94608000"
    stack.edit("deploy/certificates.sh", lambda text: text.replace(days30, years3))
    try:
        output = stack.run(command)
    finally:
        stack.edit("deploy/certificates.sh", lambda text: text.replace(years3, days30))
    assert "new certificates" in output


EVENTS = (
    Event("an authz is killed", _command("kill", "start", "authz"), "nothing"),
    Event("an authz freezes", _command("pause", "unpause", "authz"), "nothing"),
    Event("an authz is stopped", _command("stop --time 10", "start", "authz"), "nothing"),
    Event("every authz is replaced", lambda stack: _replaced(stack, "authz"), "nothing"),
    Event("all authz are killed", _command("kill", "start", "authz", every=True), "503"),
    Event("authz has a certificate of another CA", _another_authority, "503"),
    Event("Envoy and authz are cut apart", _cut("authz", "inside"), "503"),
    Event("PostgreSQL is killed", _command("kill", "start", "postgres"), "503"),
    Event("PostgreSQL freezes", _command("pause", "unpause", "postgres"), "503"),
    Event("PostgreSQL is stopped", _command("stop --time 30", "start", "postgres"), "503"),
    Event("authz and PostgreSQL are cut apart", _cut("postgres", "database"), "503"),
    Event("an Envoy is killed", _command("kill", "start", "envoy"), "cuts"),
    Event("an Envoy is stopped without a drain", _command("stop", "start", "envoy"), "cuts"),
    Event("every Envoy is replaced", lambda stack: _replaced(stack, "envoy"), "nothing"),
    Event("the balancer restarts", _command("restart --time 2", "", "front"), "outage"),
    Event("Prometheus restarts", _command("restart --time 5", "", "prometheus"), "nothing"),
    Event("all containers restart", _all_restarted, "start"),
)
"""Every row of the table "What happens when" that containers can have, and Envoy's own."""
