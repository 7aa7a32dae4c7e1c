"""Runs authz and Envoy together: start, readiness, watching, drain."""

import contextlib
import http.client
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from authz.addresses import UnixAddress
from authz.config import ALLOW_BYOK_VARIABLES, open_pools
from authz.envoy import binary
from authz.errors import StartError
from authz.proxy.keeper import make_leaves
from authz.sds import write_secrets
from authz.settings import Config
from authz.up.admin import Admin
from authz.up.banner import banner
from authz.up.children import Child
from authz.up.demo import demo as run_demo
from authz.up.first_start import find_user, make_first_token, make_identity
from authz.up.invocation import own_command
from authz.up.preflight import check_addresses

START_SECONDS = 30.0
STOP_SECONDS = 8.0
_POLL_SECONDS = 0.05
_ENVOY_VARIABLES = ("HOME", "LANG", "PATH", "TZ", "LD_LIBRARY_PATH")
"""What Envoy gets of our environment: it has no use for provider keys."""


class Signals:
    """Counts the requests to stop: the first drains, the second stops at once."""

    def __init__(self) -> None:
        self._count = 0
        self._event = threading.Event()

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch SIGINT and SIGTERM inside the block."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = [signal.signal(number, self._catch) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)

    def _catch(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        self._event.set()

    @property
    def stop(self) -> bool:
        """Whether to stop."""
        return self._count > 0

    @property
    def stop_now(self) -> bool:
        """Whether to stop without waiting for open streams."""
        return self._count > 1

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the first request to stop."""
        if self.stop:
            time.sleep(seconds)
        else:
            self._event.wait(seconds)


def up(config: Config, config_file: Path | None, *, demo: bool) -> None:
    """Run the pair in the foreground until SIGINT or SIGTERM, then drain.

    Args:
        config: the configuration.
        config_file: the file that it came from, for the children; None for their own defaults.
        demo: play the providers with the stand-in.

    Raises:
        AuthzError: the pair can't start, or a part of it has ended; nothing is left running.
    """
    signals = Signals()
    with signals.caught(), contextlib.ExitStack() as stack:
        check_addresses(config)
        envoy = binary.find()
        given_file = config_file
        if demo:
            config, config_file = stack.enter_context(run_demo(config))
        else:
            open_pools(config)
        make_identity(config.identity)
        pair = Pair(config, config_file, envoy, signals)
        stack.callback(pair.stop)
        pair.start()
        if not signals.stop:
            first = make_first_token(config.identity)
            user = find_user(config.identity)
            text = banner(config, first, user, own_command(given_file), demo=demo)
            print(text, flush=True)  # noqa: T201 - the command's output
        pair.watch()
        pair.drain()


class Pair:
    """The two processes.

    Args:
        config: what to run.
        config_file: as in ``up``.
        envoy: the Envoy executable.
        signals: whether to stop.
    """

    def __init__(
        self, config: Config, config_file: Path | None, envoy: Path, signals: Signals
    ) -> None:
        self._config = config
        self._envoy_path = envoy
        self._signals = signals
        self._children: list[Child] = []
        self._admin = Admin(config.admin_address)
        self._options: list[str | Path] = ["--config", config_file] if config_file else []

    def start(self) -> None:
        """Start both and return when a request would pass, or when asked to stop.

        Raises:
            StartError: one of them ends, or readiness takes too long.
        """
        config = self._config
        # Envoy does not start while a certificate that it shall watch is not there.
        make_leaves(config)
        write_secrets(config)
        workers = f"--workers={config.authz.workers or 1}"
        allow_byok = f"--ai-gateway-allow-byok={str(config.allow_byok).lower()}"
        authz: list[str | Path] = [sys.executable, "-m", "authz"]
        self._spawn(Child("authz", [*authz, "serve", workers, allow_byok, *self._options]))
        envoy_config = config.state_folder / f"envoy-{config.listen.port}.yaml"
        render = Child(
            "authz envoy render",
            [*authz, "envoy", "render", "-o", envoy_config, *self._options],
            # Our own configuration says it, and there the flag has won over these.
            {name: value for name, value in os.environ.items() if name not in ALLOW_BYOK_VARIABLES},
        )
        if render.wait(START_SECONDS) != 0:
            raise StartError("Envoy's configuration can't be rendered")
        environ = {name: os.environ[name] for name in _ENVOY_VARIABLES if name in os.environ}
        command: list[str | Path] = [self._envoy_path, "-c", envoy_config]
        # The component `misc` warns of each address range of the proxy's rules, some sixty lines.
        command += ["--log-level", "warning", "--component-log-level", "misc:error"]
        command += ["--disable-hot-restart"]
        command += ["--drain-time-s", str(config.envoy.drain_timeout + 1)]
        command += ["--file-flush-interval-msec", "500"]
        self._spawn(Child("envoy", command, environ))
        deadline = time.monotonic() + START_SECONDS
        while not self._signals.stop and not _would_pass(config):
            self._raise_if_ended()
            if time.monotonic() > deadline:
                raise StartError(f"the gateway is not ready after {START_SECONDS:.0f} s")
            self._signals.wait(_POLL_SECONDS)

    def watch(self) -> None:
        """Return when asked to stop.

        Raises:
            StartError: a process has ended by itself.
        """
        while not self._signals.stop:
            self._raise_if_ended()
            self._signals.wait(0.2)

    def drain(self) -> None:
        """Let open requests finish, at most ``drain_timeout`` or until the second signal."""
        deadline = time.monotonic() + self._config.envoy.drain_timeout
        told = False
        try:
            self._admin.drain()
            while (active := self._admin.active_requests()) and not self._signals.stop_now:
                if time.monotonic() > deadline:
                    _tell(f"stopping with {active} requests open after the drain timeout")
                    return
                if not told:
                    _tell(f"draining: {active} requests are open; Ctrl-C again stops at once")
                    told = True
                self._raise_if_ended()
                time.sleep(_POLL_SECONDS)
        except OSError:
            # Envoy is gone or too early in its start to be asked; nothing to wait for.
            return

    def stop(self) -> None:
        """Stop what runs, Envoy first, so that no request loses its authz."""
        for child in reversed(self._children):
            child.stop(STOP_SECONDS)
        # Envoy leaves its socket behind.
        admin = self._config.admin_address
        if isinstance(admin, UnixAddress):
            Path(admin.path).unlink(missing_ok=True)

    def _spawn(self, child: Child) -> None:
        self._children.append(child)

    def _raise_if_ended(self) -> None:
        for child in self._children:
            child.raise_if_ended()


def _would_pass(config: Config) -> bool:
    """Whether the listener is up, authz is ready, and Envoy can ask it.

    The last needs a request through ext_authz: without a token the right answer is 401.
    """
    try:
        return _status(config, "/readyz") == 200 and _status(config, "/") == 401
    except (OSError, http.client.HTTPException):
        return False


def _status(config: Config, path: str) -> int:
    host = config.listen.for_clients.host
    connection: http.client.HTTPConnection
    if config.tls is None:
        connection = http.client.HTTPConnection(host, config.listen.port, timeout=2)
    else:
        # Our own listener, on this machine, asked for nothing but a status.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            host, config.listen.port, timeout=2, context=context
        )
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def _tell(text: str) -> None:
    print(f"authz: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command's output
