"""Providers change while the pair runs: streams go on, no request fails, mistakes do no harm."""

import asyncio
import contextlib
import copy
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
import yaml

from authz.addresses import UnixAddress
from authz.envoy.parts import Parts, read_parts
from authz.errors import StartError
from authz.up.admin import AdminClient
from authz.up.handover import AdminWatcher, change
from tests.support.held import Held, HeldStream
from tests.support.pair import Pair, Provider, _environment, pair, wait_until

KEYS = {"one": "sk-ant-one-0f3a9b7c5d1e", "two": "sk-ant-two-7c5d1e0f3a9b"}
OWN_KEY = "sk-ant-own-5d1e0f3a9b7c"


@dataclass
class Changing:
    """A pair and two providers for it to change between.

    Attributes:
        held: by name; each takes its own key alone.
    """

    pair: Pair
    held: dict[str, Held]
    token: str

    def entry(self, name: str, held: str, **more: Any) -> dict[str, Any]:
        """Return a provider of ``gateway.yaml`` that one of ``held`` plays."""
        key_file = self.pair.folder / f"{held}.key"
        key_file.write_text(KEYS[held])
        return {
            "name": name,
            "type": "anthropic",
            "base_url": self.held[held].url,
            "key": {"file": str(key_file)},
            **more,
        }

    def write(self, providers: list[dict[str, Any]], **more: Any) -> None:
        """Write ``gateway.yaml``."""
        settings = {**self.pair.settings, "providers": providers, **more}
        (self.pair.folder / "gateway.yaml").write_text(yaml.safe_dump(settings))

    def reload(self, providers: list[dict[str, Any]], **more: Any) -> str:
        """Write it, reload, and return the one line that says what changed."""
        self.write(providers, **more)
        result = self.pair.command("reload", check=False)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        (line,) = result.stdout.splitlines()
        return line

    def hang_up(self, providers: list[dict[str, Any]], **more: Any) -> str:
        """Write it, reload with SIGHUP, and return the line on standard error."""
        self.write(providers, **more)
        assert self.pair.process is not None
        before = len(self.pair.stderr)
        self.pair.process.send_signal(signal.SIGHUP)

        def lines() -> list[str]:
            return [line for line in self.pair.stderr[before:].splitlines() if "authz: " in line]

        wait_until(lines, 60, "an outcome")
        (line,) = lines()
        return line.removeprefix("authz: ")

    def served_by(self, name: str, **headers: str) -> str | int:
        """Ask a provider, and return the name of the ``held`` one that served, or the status."""
        answer = httpx.get(
            f"{self.pair.url}/{name}/v1/models", headers={"x-api-key": self.token, **headers}
        )
        return str(answer.json()["served_by"]) if answer.status_code == 200 else answer.status_code


@pytest.fixture(scope="module")
def changing(provider: Provider) -> Iterator[Changing]:
    """A pair whose provider ``a`` is served by ``one``."""
    with contextlib.ExitStack() as stack:
        held = {name: Held(name, key) for name, key in KEYS.items()}
        for one in held.values():
            stack.enter_context(one.running())
        running = stack.enter_context(pair(provider, start=False))
        running.create_user("alice")
        ready = Changing(running, held, running.create_token("alice"))
        running.settings["providers"] = [ready.entry("a", "one")]
        running.start()
        yield ready
        for one in held.values():
            assert set(one.strangers) <= {OWN_KEY}
        assert "internal error" not in running.stderr
        assert "check failed" not in running.stderr


@pytest.fixture
def settled(changing: Changing) -> Changing:
    """The pair, back to its first configuration."""
    changing.write([changing.entry("a", "one")])
    assert changing.served_by("a") == "one"
    return changing


@dataclass
class Load:
    """A steady load on the provider ``a``, as HTTP/1.1 and as HTTP/2."""

    url: str
    token: str
    statuses: list[int | str] = field(default_factory=list)
    stop: bool = False

    async def work(self, http2: bool) -> None:
        """Send one request after the other."""
        async with httpx.AsyncClient(http1=not http2, http2=http2, timeout=60) as client:
            while not self.stop:
                try:
                    answer = await client.post(
                        f"{self.url}/a/v1/messages", headers={"x-api-key": self.token}, json={}
                    )
                    self.statuses.append(answer.status_code)
                except httpx.HTTPError as error:
                    self.statuses.append(type(error).__name__)
                await asyncio.sleep(0.002)


SOAK = bool(os.environ.get("AUTHZ_SOAK"))
"""A reload costs three seconds of waiting and two and a half of CPU."""


@pytest.mark.timeout(300)
async def test_ten_reloads(changing: Changing) -> None:
    """Providers are added, changed and removed under load with streams open, ten times in a soak.

    The streams are whole, no request fails, each reload counts for the next request, and no
    provider sees the key of another one.
    """
    a_one, a_two = changing.entry("a", "one"), changing.entry("a", "two")
    b_one, b_two = changing.entry("b", "one"), changing.entry("b", "two")
    slow = {"envoy": {**changing.pair.settings["envoy"], "websocket_timeout": 60}}
    steps: list[tuple[list[dict[str, Any]], dict[str, Any], str, str | int, str | int]] = [
        ([a_one, b_two], {}, "providers added b", "one", "two"),
        ([a_two, b_two], {}, "providers changed a", "two", "two"),
        ([a_two], {}, "providers removed b", "two", 404),
        ([a_one, b_one], {}, "providers added b; changed a", "one", "one"),
        ([b_two, a_one], {}, "providers changed b", "one", "two"),
        ([a_one], {"allow_byok": False}, "allow_byok is now false", "one", 404),
        ([a_two, b_two], {}, "allow_byok is now true", "two", "two"),
        ([b_one, a_one], slow, "envoy.websocket_timeout is now 60", "one", "one"),
        ([a_two], slow, "providers changed a; removed b", "two", 404),
        ([a_one], {}, "providers changed a", "one", 404),
    ]
    own = {"x-coder-ai-governance-token": changing.token, "x-api-key": OWN_KEY}
    load = Load(changing.pair.url, changing.token)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(http1=not http2, http2=http2))
            for http2 in (False, True)
        ]
        streams = [
            HeldStream(client, f"{changing.pair.url}/a/v1/messages", changing.token)
            for client in clients
        ]
        await asyncio.to_thread(
            wait_until, lambda: all(stream.events or stream.error for stream in streams)
        )
        workers = [asyncio.create_task(load.work(http2)) for http2 in (False, True)]
        for providers, more, said, a, b in steps if SOAK else [*steps[:3], steps[-1]]:
            # BYOK is switched by signal, the rest by command.
            ask = changing.hang_up if "allow_byok" in said else changing.reload
            line = await asyncio.to_thread(ask, providers, **more)
            assert line.startswith("reloaded: ")
            assert said in line
            assert await asyncio.to_thread(changing.served_by, "a") == a
            assert await asyncio.to_thread(changing.served_by, "b") == b
            with_own_key = await asyncio.to_thread(changing.served_by, "a", **own)
            assert with_own_key == (401 if more.get("allow_byok", True) else 403)
        await asyncio.to_thread(wait_until, lambda: len(load.statuses) > 200, 10, "load")
        load.stop = True
        await asyncio.gather(*workers)
        changing.held["one"].release()
        for stream in streams:
            await asyncio.to_thread(stream.join)
            stream.assert_whole()
        assert [stream.version for stream in streams] == ["HTTP/1.1", "HTTP/2"]
    failed = [line for line in changing.pair.stdout.splitlines() if '"status":503' in line]
    assert set(load.statuses) == {200}, failed
    print(f"{len(load.statuses)} requests during ten reloads, 0 failed")


def _no_yaml(_: Changing) -> tuple[str, str]:
    return "providers: [\n", "gateway.yaml:2: "


def _unknown_key(changing: Changing) -> tuple[str, str]:
    provider = {**changing.entry("b", "two"), "colour": "red"}
    return yaml.safe_dump({**changing.pair.settings, "providers": [provider]}), ".colour: unknown"


def _bad_ca(changing: Changing) -> tuple[str, str]:
    (changing.pair.folder / "bad-ca.pem").write_text("no certificate")
    provider = changing.entry("b", "two", base_url="https://b.test/", ca_file="bad-ca.pem")
    providers = [changing.entry("a", "two"), provider]
    return yaml.safe_dump({**changing.pair.settings, "providers": providers}), "bad-ca.pem"


def _missing_key(changing: Changing) -> tuple[str, str]:
    provider = {**changing.entry("b", "two"), "key": {"file": "nowhere.key"}}
    providers = [changing.entry("a", "two"), provider]
    text = yaml.safe_dump({**changing.pair.settings, "providers": providers})
    return text, "providers[1].key.file: nowhere.key"


def _setting(key: str, value: object) -> Callable[[Changing], tuple[str, str]]:
    def settings(changing: Changing) -> tuple[str, str]:
        providers = [changing.entry("a", "two")]
        values = {**changing.pair.settings, "providers": providers, key: value}
        path = f"{key}.{next(iter(value))}" if isinstance(value, dict) else key
        return yaml.safe_dump(values), f"{path}: needs a restart"

    return settings


@pytest.mark.parametrize(
    "broken",
    [
        _no_yaml,
        _unknown_key,
        _bad_ca,
        _missing_key,
        _setting("listen", "127.0.0.1:9"),
        _setting("identity", "sqlite:///./other.db"),
        _setting("envoy", {"max_connections": 17, "drain_timeout": 10}),
    ],
    ids=["YAML", "key", "CA", "key file", "listen", "identity", "Envoy"],
)
def test_mistakes(settled: Changing, broken: Callable[[Changing], tuple[str, str]]) -> None:
    """An unusable or not reloadable file is reported in one line, and the last good one serves."""
    text, reason = broken(settled)
    (settled.pair.folder / "gateway.yaml").write_text(text)
    result = settled.pair.command("reload", check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("authz: not reloaded, nothing has changed: ")
    assert reason in line
    assert settled.served_by("a") == "one"
    assert settled.served_by("b") == 404


def test_mistake_by_signal(settled: Changing) -> None:
    """SIGHUP with a broken file writes a line to standard error, and changes nothing."""
    process = settled.pair.process
    assert process is not None
    before = len(settled.pair.stderr)
    (settled.pair.folder / "gateway.yaml").write_text("][")
    process.send_signal(signal.SIGHUP)
    said = "authz: not reloaded, nothing has changed: gateway.yaml:1: "
    wait_until(lambda: said in settled.pair.stderr[before:], 20, said)
    assert settled.served_by("a") == "one"


def test_two_at_once(settled: Changing) -> None:
    """Two simultaneous reloads run one after the other, and each reports its outcome."""
    settled.write([settled.entry("a", "one"), settled.entry("b", "two")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "authz", "reload"],
            cwd=settled.pair.folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    lines = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
    assert lines == ["reloaded: nothing has changed", "reloaded: providers added b"]
    assert settled.served_by("b") == "two"


def test_envoy_refuses(settled: Changing) -> None:
    """A part that the running Envoy refuses is named, and can be reverted."""
    folder = settled.pair.folder / f"envoy-{settled.pair.port}"
    admin = AdminClient(UnixAddress(str(settled.pair.folder / f"admin-{settled.pair.port}.sock")))
    watcher = AdminWatcher(admin, lambda: None)
    good = read_parts(folder)
    assert good is not None
    routes = copy.deepcopy(dict(good.routes))
    (host,) = routes["gateway"]["virtual_hosts"]
    rest = host["matcher"]["on_no_match"]["action"]["typed_config"]["routes"]
    rest[-1]["match"] = {"safe_regex": {"regex": "("}}
    broken = replace(good, routes=routes)
    with pytest.raises(StartError, match="refuses the routes of gateway"):
        change(good, broken, folder, watcher)
    assert settled.served_by("a") == "one"
    change(broken, good, folder, watcher)
    assert read_parts(folder) == good
    assert settled.served_by("a") == "one"


class _Resuming(AdminWatcher):
    """Lets a stopped authz go on once Envoy has the new routes, and the old cluster still.

    The check that is under way has two seconds, and on a busy machine the change may take longer.
    """

    def __init__(self, admin: AdminClient, authz: int) -> None:
        super().__init__(admin, lambda: None)
        self._authz = authz

    def linger(self) -> None:
        os.kill(self._authz, signal.SIGCONT)
        super().linger()


def test_a_check_is_under_way(settled: Changing) -> None:
    """A request under check while its provider's cluster is replaced is still served."""
    folder = settled.pair.folder / f"envoy-{settled.pair.port}"
    admin = AdminClient(UnixAddress(str(settled.pair.folder / f"admin-{settled.pair.port}.sock")))
    good = read_parts(folder)
    assert good is not None
    (name,) = (name for name in good.clusters if name.startswith("provider_a_"))
    moved = Parts.from_json(good.to_json().replace(name, f"{name}_moved"))
    authz = settled.pair.children()["authz"]
    answers: list[str | int] = []
    asking = threading.Thread(target=lambda: answers.append(settled.served_by("a")))
    active = "http.gateway.downstream_rq_active"
    try:
        os.kill(authz, signal.SIGSTOP)
        asking.start()
        wait_until(lambda: admin.gauge(active) == 1, what="a check being under way")
        change(good, moved, folder, _Resuming(admin, authz))
    finally:
        os.kill(authz, signal.SIGCONT)
    asking.join(120)
    assert answers == ["one"]
    change(moved, good, folder, AdminWatcher(admin, lambda: None))


def test_workers(provider: Provider) -> None:
    """Each of several workers has the new configuration when the reload reports success.

    That includes the first pool of keys, of whose refused key every worker is told, and the time
    after the last pool. A stream that was already open goes on.
    """
    with contextlib.ExitStack() as stack:
        held = {name: Held(name, key) for name, key in KEYS.items()}
        for one in held.values():
            stack.enter_context(one.running())
        running = stack.enter_context(pair(provider, start=False))
        running.create_user("alice")
        ready = Changing(running, held, running.create_token("alice"))
        running.settings["providers"] = [ready.entry("a", "one")]
        running.settings["authz"]["workers"] = 2
        running.start()
        wait_until(lambda: running.stderr.count("authz serves") == 2, 20, "every worker")
        client = stack.enter_context(httpx.Client())
        stream = HeldStream(client, f"{running.url}/a/v1/messages", ready.token)
        wait_until(lambda: stream.events or stream.error)
        ready.reload([ready.entry("a", "two")], allow_byok=False)
        own = {"x-coder-ai-governance-token": ready.token, "x-api-key": OWN_KEY}
        assert {ready.served_by("a") for _ in range(10)} == {"two"}
        assert {ready.served_by("a", **own) for _ in range(10)} == {403}
        metrics = httpx.get(f"http://127.0.0.1:{running.http_port}/metrics").text
        lines = [line for line in metrics.splitlines() if line.startswith("authz_config_hash{")]
        assert len(lines) == 2
        assert len({line.split()[1] for line in lines}) == 1

        two = ready.entry("a", "two")
        refused = {"file": str(running.folder / "refused.key")}
        (running.folder / "refused.key").write_text(OWN_KEY)
        pool = {**two, "keys": [refused, two["key"]]}
        del pool["key"]
        assert ready.reload([pool]) == "reloaded: providers changed a; allow_byok is now true"
        assert {ready.served_by("a") for _ in range(20)} == {"two"}
        # Both are told of the first refusal; an entry takes a moment.
        wait_until(lambda: running.stderr.count("central key on cooldown") == 2)
        assert ready.reload([two]) == "reloaded: providers changed a"
        assert {ready.served_by("a") for _ in range(10)} == {"two"}
        held["one"].release()
        stream.join()
        stream.assert_whole()


def test_nobody_to_reload(provider: Provider) -> None:
    """The command fails and gives the reason if no pair runs."""
    with pair(provider, start=False) as stopped:
        (stopped.folder / "gateway.yaml").write_text(yaml.safe_dump(stopped.settings))
        result = stopped.command("reload", check=False)
        assert result.returncode == 1
        assert "no `authz up` of this configuration runs here" in result.stderr


def test_while_draining(provider: Provider) -> None:
    """A pair that is stopping accepts no new configuration, and its streams end complete."""
    held = Held("one", KEYS["one"])
    # The stream ends the drain, not the time: starting `authz reload` may take some.
    patient = {"drain_timeout": 120}
    with (
        held.running(),
        pair(provider, start=False, envoy=patient) as running,
        httpx.Client() as client,
    ):
        running.create_user("alice")
        token = running.create_token("alice")
        ready = Changing(running, {"one": held}, token)
        running.settings["providers"] = [ready.entry("a", "one")]
        running.start()
        stream = HeldStream(client, f"{running.url}/a/v1/messages", token)
        wait_until(lambda: stream.events or stream.error)
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in running.stderr)
        result = running.command("reload", check=False)
        assert result.returncode == 1
        assert "the pair is stopping" in result.stderr
        held.release()
        stream.join()
        stream.assert_whole()
        assert running.process.wait(120) == 0
