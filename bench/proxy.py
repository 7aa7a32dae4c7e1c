"""``python -m bench.proxy``: the AI Gateway Proxy beside mitmproxy doing the same job.

CONNECT with a Coder token, TLS opened with a CA of our own, the central key put in; over kept
connections, and with a new connection for each request.
"""

import base64
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import yaml
from tabulate import tabulate

from authz.certificates.ca import make_ca
from authz.config.loading import load
from authz.config.uses import Uses
from authz.core.providers import PROVIDER_TYPES
from authz.envoy.render import render
from authz.errors import AuthzError
from authz.sds.leaves import make_leaves
from bench import upstream
from bench.docs import replace_section
from bench.machine import facts, look
from bench.message import request
from bench.processes import Process
from bench.world import BenchError, World, world
from tests.support.ports import free_port

_HOST = "api.anthropic.com"
_MITMPROXY = "mitmproxy==11.0.2"
_MITM_FOLDER = Path(__file__).parent / "out" / "mitmproxy"
_CONNECTIONS = 8


@dataclass(frozen=True)
class Proxy:
    """A proxy that serves.

    Attributes:
        ca: the certificate to trust.
        processes: whose CPU is the proxy's.
    """

    title: str
    port: int
    ca: Path
    processes: list[Process]


@dataclass(frozen=True)
class Figures:
    """One measurement: CPU microseconds per request, and requests per second."""

    cpu_us: float
    rate: float


class Client:
    """One connection through a proxy."""

    def __init__(self, proxy: Proxy, token: str) -> None:
        credentials = base64.b64encode(f"coder:{token}".encode()).decode()
        raw = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"CONNECT {_HOST}:443 HTTP/1.1\r\nHost: {_HOST}:443\r\n"
        raw.sendall(f"{head}Proxy-Authorization: Basic {credentials}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _received(raw)
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise BenchError(f"{proxy.title}: CONNECT got {answer[:40]!r}")
        context = ssl.create_default_context(cafile=str(proxy.ca))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._socket = context.wrap_socket(raw, server_hostname=_HOST)
        message = request("x").replace(b"Authorization: Bearer x\r\n", b"")
        message = message.replace(b"Host: 127.0.0.1", f"Host: {_HOST}".encode())
        self._message = message.replace(b"POST /anthropic/", b"POST /")

    def ask(self) -> None:
        """Send the request and read the answer; BenchError when it is not 200."""
        self._socket.sendall(self._message)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _received(self._socket)
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200" not in head.partition(b"\r\n")[0]:
            raise BenchError(f"the proxy's answer is {head[:60]!r}")
        lines = head.lower().split(b"\r\n")
        length = next(int(ln[15:]) for ln in lines if ln.startswith(b"content-length:"))
        while len(body) < length:
            body += _received(self._socket)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def ours(surroundings: World) -> Proxy:
    """Start Envoy and authz with the proxy on."""
    folder = surroundings.folder / "proxy"
    port = free_port()
    ca = {"cert_file": str(folder / "ca.pem"), "key_file": str(folder / "ca-key.pem")}
    _, file = surroundings.config("proxy", proxy={"listen": f"127.0.0.1:{port}", "ca": ca})
    values = yaml.safe_load(file.read_text())
    for provider in values["providers"]:
        prefix = PROVIDER_TYPES[provider["type"]].client_prefix
        provider["public_url"] = f"https://api.{provider['name']}.com{prefix}"
    file.write_text(yaml.safe_dump(values))
    config = load(file, uses=Uses.KEYS, environ={})
    make_ca(Path(ca["cert_file"]), Path(ca["key_file"]), "bench")
    make_leaves(config)
    authz = surroundings.start(
        "proxy", "authz", [sys.executable, "-m", "authz", "serve", "--config", file]
    )
    envoy = surroundings.start_envoy("proxy", yaml.safe_load(render(config)))
    return Proxy("Envoy and authz", port, Path(ca["cert_file"]), [envoy, authz])


def mitmproxy(surroundings: World) -> Proxy:
    """Start mitmproxy with an add-on; it is installed in an environment of its own."""
    program = _MITM_FOLDER / "bin" / "mitmdump"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", _MITM_FOLDER], check=True)
        pip: list[str | Path] = [_MITM_FOLDER / "bin" / "pip", "install", "--quiet", _MITMPROXY]
        subprocess.run(pip, check=True)
    folder = surroundings.folder / "mitmproxy"
    folder.mkdir()
    port = free_port()
    variables = {
        "BENCH_TOKEN": surroundings.token,
        "BENCH_CENTRAL_KEY": upstream.CENTRAL_KEY,
        "BENCH_UPSTREAM_PORT": str(surroundings.upstream_port),
    }
    addon = Path(__file__).parent / "mitm_addon.py"
    command: list[str | Path] = [
        program,
        "-q",
        "-s",
        addon,
        "--listen-host",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    command += ["--set", f"confdir={folder}", "--set", "connection_strategy=lazy"]
    process = surroundings.start("mitmproxy", "mitmproxy", command, variables)
    return Proxy("mitmproxy", port, folder / "mitmproxy-ca-cert.pem", [process])


def kept(proxy: Proxy, token: str, stop: Callable[[], bool]) -> int:
    """Send requests over one connection; return how many."""
    client, count = Client(proxy, token), 0
    while not stop():
        client.ask()
        count += 1
    client.close()
    return count


def fresh(proxy: Proxy, token: str, stop: Callable[[], bool]) -> int:
    """Send each request over a connection of its own; return how many."""
    count = 0
    while not stop():
        client = Client(proxy, token)
        client.ask()
        client.close()
        count += 1
    return count


def measure(proxy: Proxy, token: str, work: Callable[..., int], seconds: float) -> Figures:
    """Run the load with eight connections."""
    end = time.monotonic() + seconds
    counts: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: counts.append(work(proxy, token, lambda: time.monotonic() > end))
        )
        for _ in range(_CONNECTIONS)
    ]
    cpu = sum(process.cpu_seconds() for process in proxy.processes)
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    cpu = sum(process.cpu_seconds() for process in proxy.processes) - cpu
    if len(counts) != _CONNECTIONS:
        raise BenchError(f"{proxy.title}: a connection failed")
    return Figures(cpu / sum(counts) * 1e6, sum(counts) / took)


@click.command()
@click.option("--seconds", type=click.FloatRange(0.1), default=3.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--docs", "folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
def main(*, seconds: float, rounds: int, folder: Path | None) -> None:
    """Measure the proxy and mitmproxy, on this machine, in one run."""
    state = look()
    try:
        with world() as surroundings:
            rows = _measure_all(surroundings, seconds, rounds)
    except (AuthzError, BenchError) as error:
        sys.exit(f"bench: {error}")
    about = ", ".join(f"{name} {value}" for name, value in facts().items())
    text = tabulate(rows, headers="keys", tablefmt="github", floatfmt=",.0f")
    text = f"{about}; {rounds} rounds of {seconds:g} s, medians. Before the run: {state}.\n\n{text}"
    click.echo(text)
    if folder is not None:
        replace_section(folder / "performance.md", "bench.proxy", text)


def _measure_all(surroundings: World, seconds: float, rounds: int) -> list[dict[str, object]]:
    proxies = [ours(surroundings)]
    try:
        proxies.append(mitmproxy(surroundings))
    except (OSError, subprocess.CalledProcessError):
        click.echo("mitmproxy can't be installed here: left out", err=True)
    for proxy in proxies:
        _wait(proxy, surroundings.token)
    found: dict[tuple[str, str], list[Figures]] = {}
    for _ in range(rounds):
        for proxy in proxies:
            for kind, work in (("kept", kept), ("new", fresh)):
                figures = measure(proxy, surroundings.token, work, seconds)
                found.setdefault((proxy.title, kind), []).append(figures)
    rows: list[dict[str, object]] = []
    for proxy in proxies:
        row: dict[str, object] = {"proxy": proxy.title}
        for kind in ("kept", "new"):
            one = found[proxy.title, kind]
            row[f"{kind} connections: CPU µs a request"] = median(f.cpu_us for f in one)
            row[f"{kind}: requests/s"] = median(f.rate for f in one)
        rows.append(row)
    return rows


def _wait(proxy: Proxy, token: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            client = Client(proxy, token)
            client.ask()
            client.close()
            return
        except (OSError, BenchError) as error:
            if time.monotonic() > deadline:
                raise BenchError(f"{proxy.title} does not serve: {error}") from None
            time.sleep(0.05)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise BenchError("the connection was closed")
    return data


if __name__ == "__main__":
    main(prog_name="python -m bench.proxy")
