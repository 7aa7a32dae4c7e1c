"""The Docker engine that the tests talk to: the machine's, or one that a run starts and ends."""

import contextlib
import ctypes
import fcntl
import ipaddress
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.containers.programs import Missing, require, run

CACHE = Path(
    os.environ.get("AUTHZ_CONTAINERS_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "authz-containers"
)
"""The folder of our own engine's base images and build steps, so that the next run is quick."""

_PR_SET_PDEATHSIG = 1
_SECONDS = 60


@dataclass(frozen=True)
class Network:
    """The bridge of our own engine, and the addresses of its containers."""

    bridge: str
    subnet: str

    @property
    def pool(self) -> str:
        """Addresses for the networks that Compose makes: the upper half."""
        return str(list(ipaddress.ip_network(self.subnet).subnets())[1])

    @property
    def address(self) -> str:
        """The bridge's own address."""
        return f"{ipaddress.ip_network(self.subnet)[1]}/24"


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """Yield the address of an engine; start one if none answers, and end it afterwards."""
    given = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if shutil.which("docker") and _answers(given):
        yield given
        return
    if os.environ.get("DOCKER_HOST"):
        raise Missing(f"no Docker engine answers on {given}; start it, or unset DOCKER_HOST")
    if os.geteuid() != 0:
        raise Missing(
            "no Docker engine answers; start one, or run this as root, which starts its own"
        )
    require("dockerd", "docker", "iptables", "ip")
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(), _started() as address:
        yield address


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other run uses the cache, since an engine's data can have one engine only."""
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"containers: waiting for another run to end ({CACHE} is in use)", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _started() -> Iterator[str]:
    _remove_leftovers()
    network = _free_network()
    # Short, because a Unix socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="authz-dk-", dir="/tmp"))
    address = f"unix://{folder}/docker.sock"
    notes = CACHE / "run.json"
    notes.write_text(json.dumps({"folder": str(folder), "network": asdict(network)}))
    process = None
    try:
        run("ip", "link", "add", network.bridge, "type", "bridge")
        run("ip", "address", "add", network.address, "dev", network.bridge)
        run("ip", "link", "set", network.bridge, "up")
        log = folder / "log"
        process = _launch(folder, address, network, log)
        deadline = time.monotonic() + _SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"the Docker engine did not start: {_problems(log)}")
            time.sleep(0.2)
        _empty(address)
        yield address
    finally:
        if process is not None and process.poll() is None:
            _empty(address)
            _end(process)
        _clean(folder, network)
        notes.unlink(missing_ok=True)


def _launch(folder: Path, address: str, network: Network, log: Path) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)

    def ends_with_us() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    with log.open("wb") as output:
        return subprocess.Popen(
            [
                "dockerd", f"--data-root={CACHE / 'engine'}", f"--exec-root={folder / 'exec'}",
                f"--pidfile={folder / 'pid'}", f"--host={address}", f"--bridge={network.bridge}",
                f"--default-address-pool=base={network.pool},size=24",
            ],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            # Ctrl-C is for the run, which ends its containers first.
            start_new_session=True, preexec_fn=ends_with_us,
        )  # fmt: skip


def _problems(log: Path) -> str:
    """Return the lines of an engine's log that are more than progress."""
    lines = [line for line in log.read_text().splitlines() if " level=info " not in line]
    return "\n".join(lines)[-2000:].strip()


def _answers(address: str) -> bool:
    command = ["docker", "--host", address, "version", "--format", "{{.Server.Version}}"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    return False


def _empty(address: str) -> None:
    """Remove containers, networks and volumes of our own engine; images and build steps stay."""
    docker = ["docker", "--host", address]
    # A command that hangs or fails must not keep the engine from being ended.
    with contextlib.suppress(Missing):
        containers = run(*docker, "ps", "--all", "--quiet").split()
        if containers:
            run(*docker, "rm", "--force", "--volumes", *containers, timeout=120)
        run(*docker, "network", "prune", "--force", timeout=120)
        run(*docker, "volume", "prune", "--force", timeout=120)
        # Build steps of a week ago are of sources that have changed since.
        run(*docker, "image", "prune", "--force", "--filter", "until=168h", timeout=120)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _remove_leftovers() -> None:
    """Clean up after a run that was killed; the lock shows that the run is gone."""
    notes = CACHE / "run.json"
    if not notes.exists():
        return
    with contextlib.suppress(ValueError, KeyError):
        left = json.loads(notes.read_text())
        _clean(Path(left["folder"]), Network(**left["network"]))
    notes.unlink()


def _clean(folder: Path, network: Network) -> None:
    """Remove an engine's processes, mounts, bridge, rules and folder, if they exist."""
    for name in ("pid", "exec/containerd/containerd.pid"):
        with contextlib.suppress(OSError, ValueError):
            _wait_for_end(int((folder / name).read_text()), str(folder))
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    ours = [one for one in mounts if one.startswith((f"{folder}/", f"{CACHE}/engine/"))]
    for one in reversed(ours):
        subprocess.run(["umount", "--lazy", one], check=False, capture_output=True)
    if Path("/sys/class/net", network.bridge).exists():
        # Before the bridge, which says to other runs that its addresses are taken.
        _remove_rules(network)
        subprocess.run(["ip", "link", "delete", network.bridge], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_for_end(pid: int, mark: str) -> None:
    """End a process of the engine in this folder; its id may belong to another one by now."""
    for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + seconds
        while mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, number)
            time.sleep(0.2)
            if time.monotonic() > deadline:
                break


def _remove_rules(network: Network) -> None:
    """Remove the packet filter rules of our bridge and addresses, which an engine leaves behind."""
    first = str(ipaddress.ip_network(network.subnet)[0]).rsplit(".", 2)[0] + "."
    for table in ("nat", "filter"):
        listed = subprocess.run(
            ["iptables", "-t", table, "-S"], capture_output=True, text=True, check=False
        )
        for line in listed.stdout.splitlines():
            if line.startswith("-A ") and (
                f" {network.bridge} " in f"{line} " or f" {first}" in line
            ):
                rule = ["iptables", "-t", table, "-D", *line.split()[1:]]
                subprocess.run(rule, check=False, capture_output=True)


def _free_network() -> Network:
    """Return a network that no interface or route of this machine overlaps."""
    listed = run("ip", "-4", "-o", "route") + run("ip", "-4", "-o", "address")
    used = []
    for word in listed.split():
        with contextlib.suppress(ValueError):
            if "/" in word:
                used.append(ipaddress.ip_network(word, strict=False))
    for second in random.sample(range(20, 32), 12):
        subnet = ipaddress.ip_network(f"172.{second}.0.0/16")
        if not any(subnet.overlaps(one) for one in used if one.prefixlen > 0):
            # A name of its own, so that a run never removes the bridge of another.
            return Network(f"authz{secrets.token_hex(3)}", str(subnet))
    raise Missing("no network 172.20.0.0/16 to 172.31.0.0/16 is free for the containers")
