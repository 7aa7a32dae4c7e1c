"""Reloads a running pair: checks all of the new configuration, then changes authz and Envoy."""

import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from authz.config.changes import describe, fingerprint, need_restart
from authz.config.settings import Config
from authz.envoy import binary
from authz.envoy.parts import Parts, write_document
from authz.errors import AuthzError, ConfigError, StartError
from authz.sds.leaves import make_leaves
from authz.serve.children import Child
from authz.up.admin import Admin
from authz.up.control import NOT_RELOADED, Outcome
from authz.up.handover import AskingWatcher, change
from authz.up.readiness import served_fingerprint
from authz.up.rendering import envoy_folder, rendered, write_snapshot

_SWAP_SECONDS = 20.0
_POLL_SECONDS = 0.02


class Reloader:
    """Changes the configuration of one pair.

    Args:
        config: what runs.
        parts: what Envoy was started with.
        authz: the child that serves the snapshot.
        environ: of children.
        admin: of Envoy.
        check: called while waiting; what it raises ends the reload.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        authz: Child,
        environ: dict[str, str],
        admin: Admin,
        check: Callable[[], None],
    ) -> None:
        self.config = config
        self._parts = parts
        self._authz = authz
        self._environ = environ
        self._folder = envoy_folder(config)
        self._watcher = AskingWatcher(admin, check)
        self._check = check

    def reload(self, load: Callable[[], Config]) -> Outcome:
        """Serve the configuration that ``load`` reads, or go on with the one of before.

        Returns:
            One line: what changed, or why nothing did.
        """
        try:
            return Outcome(succeeded=True, text=f"reloaded: {self._reload(load)}")
        except ConfigError as error:
            why = "; ".join(error.problems)
        except AuthzError as error:
            why = str(error)
        except OSError as error:
            why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return Outcome(succeeded=False, text=f"{NOT_RELOADED}: {_line(why)}")

    def _reload(self, load: Callable[[], Config]) -> str:
        old, old_parts = self.config, self._parts
        new = load()
        if paths := need_restart(old, new):
            raise ConfigError([f"{path}: needs a restart" for path in paths])
        # Envoy takes no listener while the certificate that it shall watch is not there.
        make_leaves(new)
        parts = rendered(new, self._environ)
        if parts.bootstrap != old_parts.bootstrap:
            raise ConfigError(["Envoy's listeners would change with this: needs a restart"])
        self._validate(parts)
        try:
            self._swap_authz(new)
            change(old_parts, parts, self._folder, self._watcher)
        except (AuthzError, OSError) as error:
            self._back(parts, why=error)
            raise
        self.config, self._parts = new, parts
        return describe(old, new, _replaced(old_parts, parts))

    def _validate(self, parts: Parts) -> None:
        """Let the real Envoy look at all of it, certificates and references included."""
        with tempfile.TemporaryDirectory(prefix="authz-") as folder:
            path = Path(folder) / "envoy.json"
            write_document(path, parts.whole)
            try:
                binary.validate(path)
            except StartError as error:
                # Before it stand the time and the place in Envoy's source.
                why = str(error).rpartition(f"{path}': ")[2].removeprefix(f"{path}: ")
                raise StartError(f"Envoy refuses it: {why}") from None

    def _swap_authz(self, config: Config) -> None:
        """Let authz serve a configuration, and return when it does."""
        write_snapshot(config, "authz")
        self._authz.send(signal.SIGHUP)
        wanted = float(fingerprint(config))
        deadline = time.monotonic() + _SWAP_SECONDS
        while served_fingerprint(config) != wanted:
            if time.monotonic() > deadline:
                raise StartError("authz has not taken the configuration; its log may say why")
            self._check()
            time.sleep(_POLL_SECONDS)

    def _back(self, parts: Parts, why: Exception) -> None:
        """Take back whatever has been done; Envoy first, whose routes authz has to know."""
        try:
            change(parts, self._parts, self._folder, self._watcher)
            self._swap_authz(self.config)
        except (AuthzError, OSError) as error:
            raise StartError(f"{why}; and not all could be put back, restart: {error}") from None


def _replaced(old: Parts, new: Parts) -> list[str]:
    """Return the providers whose clusters have changed, be it only in a file that they name."""
    return [
        name
        for name, clusters in new.of_provider.items()
        if name in old.of_provider and old.of_provider[name] != clusters
    ]


def _line(text: str) -> str:
    return " ".join(text.split())
