"""authz.serve.systemd, with a socket as systemd has it."""

import os
import time
from pathlib import Path

import pytest

from authz.serve.systemd import Notifier
from tests.support.notify_socket import notify_socket


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_states(kind: str, tmp_path: Path) -> None:
    """Each state arrives on a socket with a path and on one with an abstract name."""
    name = str(tmp_path / "notify") if kind == "path" else f"@authz-{os.getpid()}"
    with notify_socket(name) as systemd:
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.waiting("the identity source")
        with notifier.reloading():
            pass  # before it is ready, a reload is a part of the start
        notifier.ready()
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        with notifier.reloading():
            assert systemd.states == ["READY", "RELOADING"]
        assert int(systemd.messages[2]["MONOTONIC_USEC"]) >= before
        notifier.stopping()
        notifier.ready()
        assert systemd.states == ["READY", "RELOADING", "READY", "STOPPING"]
        assert systemd.messages[0] == {"STATUS": "waiting for the identity source"}


def test_children_do_not_get_the_variables(tmp_path: Path) -> None:
    """A child does not get the socket, since it could report a state of its own."""
    environ = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "PATH": "/bin",
    }
    assert Notifier(environ).is_on
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("name", ["", "@", "relative", "vsock:2:1234"])
def test_outside_of_a_unit_nothing_is_sent(name: str) -> None:
    """Every call does nothing without a socket of a known kind."""
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
    assert not notifier.is_on
    assert notifier.watchdog_seconds is None
    notifier.ready()
    notifier.alive()
    notifier.stopping()


def test_a_socket_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """A start goes on although systemd does not listen."""
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


@pytest.mark.parametrize(("pid", "expected"), [("", 10.0), ("own", 10.0), ("1", None), ("x", None)])
def test_signs_of_life(pid: str, expected: float | None, tmp_path: Path) -> None:
    """Signs of life are sent three times per watchdog period, if it is for this process."""
    name = str(tmp_path / "notify")
    pid = str(os.getpid()) if pid == "own" else pid
    variables = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": pid}
    with notify_socket(name) as systemd:
        notifier = Notifier(variables)
        assert notifier.watchdog_seconds == expected
        notifier.alive()
        notifier.alive()
        assert systemd.messages == ([{"WATCHDOG": "1"}] if expected else [])
