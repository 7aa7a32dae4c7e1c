"""Intercepted hosts come, change and go while tunnels are open."""

import contextlib
import os
import subprocess
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.proxy.pairs import Proxied, _proxy, _started
from tests.support.held import Held, HeldStream
from tests.support.pair import Provider, pair, wait_until
from tests.support.tls import connect, credentials, trusting
from tests.support.upstream_proxy import UpstreamProxy

KEYS = {"one": "sk-ant-one-0f3a9b7c5d1e", "two": "sk-ant-two-7c5d1e0f3a9b"}


def _entry(running: Proxied, name: str, held: Held, key: str) -> dict[str, Any]:
    """Return a provider that clients reach as ``NAME.test``."""
    key_file = running.pair.folder / f"{key}.key"
    key_file.write_text(KEYS[key])
    return {
        "name": name,
        "type": "anthropic",
        "base_url": held.url,
        "public_url": f"https://{name}.test/",
        "key": {"file": str(key_file)},
    }


def _reload(running: Proxied, providers: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    settings = {**running.pair.settings, "providers": providers}
    (running.pair.folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
    return running.pair.command("reload", check=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("behind", [False, True] if os.environ.get("AUTHZ_SOAK") else [False])
def test_hosts_change(provider: Provider, behind: bool) -> None:
    """A host is intercepted from the reload that adds it until the one that removes it.

    Streams through tunnels that were open before continue through all reloads, HTTP/1.1 and HTTP/2.
    """
    with contextlib.ExitStack() as stack:
        held = {name: Held(name, key) for name, key in KEYS.items()}
        for one in held.values():
            stack.enter_context(one.running())
        settings = _proxy()
        if behind:
            ports = {
                name: int(one.url.rstrip("/").rpartition(":")[2]) for name, one in held.items()
            }
            routes = {f"127.0.0.1:{port}": ("127.0.0.1", port) for port in ports.values()}
            upstream = stack.enter_context(UpstreamProxy(routes))
            settings = _proxy(upstream_proxy=f"http://127.0.0.1:{upstream.port}")
        # A removed host's streams have this long (`docs/reload.md`); no test shall wait for it.
        patient = {"drain_timeout": 120}
        running_pair = stack.enter_context(
            pair(provider, start=False, proxy=settings, envoy=patient)
        )
        early = Proxied(running_pair, running_pair.folder / "ca.pem", "")
        first = _entry(early, "first", held["one"], "one")
        running_pair.settings["providers"] = [first]
        running = _started(running_pair)

        def client(http2: bool = False) -> httpx.Client:
            context = trusting(running.ca_file, alpn=("h2",) if http2 else ("http/1.1",))
            return stack.enter_context(
                httpx.Client(proxy=running.url, verify=context, http2=http2, timeout=60)
            )

        def served_by(host: str, by: httpx.Client | None = None) -> str:
            answer = (by or client()).get(f"https://{host}/v1/models")
            return str(answer.json()["served_by"])

        streams = [
            HeldStream(client(http2), "https://first.test/v1/messages", running.token)
            for http2 in (False, True)
        ]
        kept = client()
        assert served_by("first.test", kept) == "one"
        wait_until(lambda: all(stream.events or stream.error for stream in streams))

        second = _entry(running, "second", held["two"], "two")
        assert _reload(running, [first, second]).stdout == "reloaded: providers added second\n"
        assert served_by("second.test") == "two"

        first = _entry(running, "first", held["two"], "two")
        assert _reload(running, [first, second]).stdout == "reloaded: providers changed first\n"
        # The tunnel of before is open still, and the next request in it goes elsewhere.
        assert served_by("first.test", kept) == "two"

        assert _reload(running, [second]).stdout == "reloaded: providers removed first\n"
        assert connect(running.port, "first.test:443", credentials(running.token)).status >= 400
        assert served_by("second.test") == "two"

        seen = [len(stream.events) for stream in streams]
        wait_until(lambda: all(len(s.events) > n + 3 for s, n in zip(streams, seen, strict=True)))
        for one in held.values():
            one.release()
        for stream in streams:
            stream.join()
            stream.assert_whole()
        assert [stream.version for stream in streams] == ["HTTP/1.1", "HTTP/2"]
        assert [one.strangers for one in held.values()] == [[], []]
