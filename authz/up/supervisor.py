"""Run authz and Envoy together: start, readiness, supervision, drain."""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from authz.addresses import UnixAddress
from authz.config.loading import open_pools
from authz.config.settings import Config
from authz.envoy import binary
from authz.envoy.parts import bootstrap_file, write_parts
from authz.errors import StartError
from authz.keys.exec_key import shared_outputs
from authz.sds.leaves import make_leaves
from authz.sds.secret_files import write_secrets
from authz.serve.children import Child
from authz.serve.systemd import Notifier
from authz.up.admin import AdminClient
from authz.up.banner import banner
from authz.up.control import NOT_RELOADED, Control, ReloadResult, control_socket
from authz.up.demo import demo as run_demo
from authz.up.demo_state import has_own_store
from authz.up.first_secrets import FirstSecrets, keep
from authz.up.first_start import find_user, make_first_code, make_first_token, make_identity
from authz.up.invocation import own_command
from authz.up.preflight import check_addresses
from authz.up.readiness import would_pass
from authz.up.reload import Reloader
from authz.up.rendering import (
    AUTHZ,
    envoy_folder,
    rendered,
    snapshot_file,
    without_byok_variables,
    write_snapshot,
)
from authz.up.signals import Signals

START_SECONDS = 30.0
STOP_SECONDS = 8.0
_POLL_SECONDS = 0.05
_STOPPING = f"{NOT_RELOADED}: the pair is stopping"
_ENVOY_VARIABLES = ("HOME", "LANG", "PATH", "TZ", "LD_LIBRARY_PATH")
"""The environment variables that Envoy gets. It must not get provider keys."""


def up(
    load: Callable[[], Config],
    signals: Signals,
    config_file: Path | None,
    notifier: Notifier,
    *,
    demo: bool,
) -> None:
    """Run the pair in the foreground until SIGINT or SIGTERM, then drain.

    Args:
        load: reads the configuration, now and for each reload.
        signals: the signals, which are handled before these modules are loaded.
        config_file: the value of ``--config``, for commands in the banner.
        notifier: is told the state of the pair.
        demo: use the stand-in provider.

    Raises:
        AuthzError: the pair can't start, or one process has ended. No process is left running.
    """
    config = load()
    with contextlib.ExitStack() as stack:
        check_addresses(config)
        envoy = binary.find()
        if demo:
            config, config_file = stack.enter_context(run_demo(config))
        else:
            open_pools(config)
        make_identity(config.identity)
        control = Control(control_socket(config), signals.wake)
        stack.callback(control.close)
        pair = Pair(config, envoy, signals, control, notifier)
        stack.callback(pair.stop)
        pair.start()
        if not signals.stop:
            first = _first_secrets(config, demo=demo)
            user = find_user(config.identity)
            text = banner(config, first, user, own_command(config_file), demo=demo)
            print(text, flush=True)  # noqa: T201 - the command's output
            notifier.ready()
        pair.watch(None if demo else load)
        pair.drain()


def _first_secrets(config: Config, *, demo: bool) -> FirstSecrets:
    """Create the secrets of a first start, and write them to files if the output may be a log.

    A demo always shows its secrets, which are valid for the stand-in only.
    """
    if demo and not has_own_store(config):
        # These are the users of a real source, and a demo must not create administrators there.
        return FirstSecrets()
    token, code = make_first_token(config.identity), make_first_code(config)
    if demo or sys.stdout.isatty():
        return FirstSecrets(token, code)
    return keep(config, token, code)


class Pair:
    """Envoy and authz as child processes.

    Args:
        config: the configuration.
        envoy: the Envoy executable.
        signals: requests to stop or reload.
        control: requests to reload from the command line.
        notifier: is told of a reload and of the stop, and gets signs of life.
    """

    def __init__(
        self,
        config: Config,
        envoy: Path,
        signals: Signals,
        control: Control,
        notifier: Notifier,
    ) -> None:
        self._notifier = notifier
        self._config = config
        self._envoy_path = envoy
        self._signals = signals
        self._control = control
        self._children: list[Child] = []
        self._admin = AdminClient(config.admin_address)
        self._environ = without_byok_variables(dict(os.environ))
        self._reloader: Reloader | None = None

    def start(self) -> None:
        """Start both processes, and wait until a request would pass or a stop is requested.

        Raises:
            StartError: a process ends, or readiness takes too long.
        """
        config = self._config
        # Envoy does not start if a certificate file that it watches does not exist.
        make_leaves(config)
        write_secrets(config)
        workers = f"--workers={config.authz.workers or 1}"
        snapshot = write_snapshot(config, "authz")
        serve: list[str | Path] = [*AUTHZ, "serve", workers, "--checked", "--config", snapshot]
        # Commands that print keys have run for the check, and need not run again.
        keys = shared_outputs().descriptor
        if keys is not None:
            serve += ["--keys-descriptor", str(keys)]
        authz = Child("authz", serve, self._environ, keep=() if keys is None else (keys,))
        self._children.append(authz)
        parts = rendered(config, self._environ)
        write_parts(parts, envoy_folder(config))
        environ = {name: os.environ[name] for name in _ENVOY_VARIABLES if name in os.environ}
        command: list[str | Path] = [self._envoy_path, "-c", bootstrap_file(envoy_folder(config))]
        # The component `misc` logs a warning for each address range of the proxy, some sixty lines.
        command += ["--log-level", "warning", "--component-log-level", "misc:error"]
        command += ["--disable-hot-restart"]
        if config.envoy.concurrency is not None:
            command += ["--concurrency", str(config.envoy.concurrency)]
        command += ["--drain-time-s", str(config.envoy.drain_timeout + 1)]
        command += ["--file-flush-interval-msec", "500"]
        self._children.append(Child("envoy", command, environ))
        deadline = time.monotonic() + START_SECONDS
        while not self._signals.stop and not would_pass(config):
            self._raise_if_ended()
            if time.monotonic() > deadline:
                raise StartError(
                    f"the gateway is not ready after {START_SECONDS:.0f} s; see the log above"
                )
            self._signals.wait(_POLL_SECONDS)
        self._reloader = Reloader(
            config, parts, authz, self._environ, self._admin, self._raise_if_over
        )

    def watch(self, load: Callable[[], Config] | None) -> None:
        """Handle requests to reload until a stop is requested.

        Args:
            load: reads a new configuration; None if this pair can't reload.

        Raises:
            StartError: a process has ended on its own.
        """
        while not self._signals.stop:
            self._raise_if_ended()
            if self._signals.take_reload():
                self._reload(load)
            elif (request := self._control.take()) is not None:
                request.respond(self._reload(load))
            else:
                self._signals.wait(0.2)

    def _reload(self, load: Callable[[], Config] | None) -> ReloadResult:
        if load is None or self._reloader is None:
            result = ReloadResult(
                succeeded=False, text=f"{NOT_RELOADED}: with --demo, restart to change it"
            )
        else:
            with self._notifier.reloading():
                result = self._reloader.reload(load)
            self._config = self._reloader.config
        _print(result.text)
        return result

    def drain(self) -> None:
        """Wait for open requests, for at most ``drain_timeout`` or until the second signal."""
        self._notifier.stopping()
        deadline = time.monotonic() + self._config.envoy.drain_timeout
        has_reported = False
        try:
            self._admin.drain()
            while (active := self._admin.active_requests()) and not self._signals.stop_now:
                if time.monotonic() > deadline:
                    _print(f"stopping with {active} requests open after the drain timeout")
                    return
                if not has_reported:
                    _print(
                        f"draining: {active} requests are open; press Ctrl-C again to stop at once"
                    )
                    has_reported = True
                self._raise_if_ended()
                self._refuse_reload()
                time.sleep(_POLL_SECONDS)
        except OSError:
            # Envoy has ended or has not started its admin interface, so no request is open.
            return

    def stop(self) -> None:
        """Stop the processes, Envoy first, so that no request misses its check."""
        for child in reversed(self._children):
            child.stop(STOP_SECONDS)
        self._refuse_reload()
        snapshot_file(self._config, "authz").unlink(missing_ok=True)
        # Envoy does not remove its socket.
        admin = self._config.admin_address
        if isinstance(admin, UnixAddress):
            Path(admin.path).unlink(missing_ok=True)

    def _refuse_reload(self) -> None:
        self._control.refuse(_STOPPING)
        if self._signals.take_reload():
            _print(_STOPPING)

    def _raise_if_over(self) -> None:
        """Raise StartError if a reload can't go on: a process has ended, or a stop is requested."""
        self._raise_if_ended()
        if self._signals.stop:
            raise StartError("the pair is stopping")

    def _raise_if_ended(self) -> None:
        # Every loop that waits comes here, so this is the sign that this process is not stuck.
        self._notifier.alive()
        for child in self._children:
            child.raise_if_ended()


def _print(text: str) -> None:
    print(f"authz: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command's output
