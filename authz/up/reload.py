"""Reload a running pair: check the new configuration, then change authz and Envoy."""

import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from authz.config.changes import changed_in_listeners, describe, fingerprint, need_restart
from authz.config.settings import Config
from authz.envoy import binary
from authz.envoy.parts import Parts, write_document
from authz.errors import AuthzError, ConfigError, StartError
from authz.sds.leaves import make_leaves
from authz.serve.children import Child
from authz.up.admin import AdminClient
from authz.up.control import NOT_RELOADED, ReloadResult
from authz.up.handover import AdminWatcher, change
from authz.up.readiness import served_fingerprint
from authz.up.rendering import envoy_folder, rendered, write_snapshot

_SWAP_SECONDS = 20.0
_POLL_SECONDS = 0.02


class Reloader:
    """Changes the configuration of one pair.

    Args:
        config: the current configuration.
        parts: the configuration that Envoy was started with.
        authz: the child that serves the snapshot.
        environ: the environment of children.
        admin: Envoy's admin interface.
        check: called while waiting; an exception from it ends the reload.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        authz: Child,
        environ: dict[str, str],
        admin: AdminClient,
        check: Callable[[], None],
    ) -> None:
        self.config = config
        self._parts = parts
        self._authz = authz
        self._environ = environ
        self._folder = envoy_folder(config)
        self._watcher = AdminWatcher(admin, check)
        self._check = check

    def reload(self, load: Callable[[], Config]) -> ReloadResult:
        """Apply the configuration that ``load`` reads, or keep the current one.

        Returns:
            One line with the changes, or the reason why nothing has changed.
        """
        try:
            return ReloadResult(succeeded=True, text=f"reloaded: {self._reload(load)}")
        except ConfigError as error:
            why = "; ".join(error.problems)
        except AuthzError as error:
            why = str(error)
        except OSError as error:
            why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return ReloadResult(succeeded=False, text=f"{NOT_RELOADED}: {_line(why)}")

    def _reload(self, load: Callable[[], Config]) -> str:
        old, old_parts = self.config, self._parts
        new = load()
        if paths := need_restart(old, new):
            raise ConfigError([f"{path}: needs a restart" for path in paths])
        # Envoy rejects a listener whose certificate file does not exist.
        make_leaves(new)
        parts = rendered(new, self._environ)
        if parts.bootstrap != old_parts.bootstrap:
            why = " and ".join(changed_in_listeners(old, new))
            of_providers = f" with {why} of providers" if why else ""
            raise ConfigError([f"Envoy's listeners would change{of_providers}: needs a restart"])
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
        """Validate all of it with Envoy itself, which also checks certificates and references."""
        with tempfile.TemporaryDirectory(prefix="authz-") as folder:
            path = Path(folder) / "envoy.json"
            write_document(path, parts.whole)
            try:
                binary.validate(path)
            except StartError as error:
                # Remove the time and the place in Envoy's source from the message.
                why = str(error).rpartition(f"{path}': ")[2].removeprefix(f"{path}: ")
                raise StartError(f"Envoy refuses the configuration: {why}") from None

    def _swap_authz(self, config: Config) -> None:
        """Give authz a configuration, and wait until it serves it."""
        write_snapshot(config, "authz")
        self._authz.send(signal.SIGHUP)
        wanted = float(fingerprint(config))
        deadline = time.monotonic() + _SWAP_SECONDS
        while served_fingerprint(config) != wanted:
            if time.monotonic() > deadline:
                raise StartError(
                    "authz has not applied the configuration; see its log for the reason"
                )
            self._check()
            time.sleep(_POLL_SECONDS)

    def _back(self, parts: Parts, why: Exception) -> None:
        """Undo the changes, Envoy's first, because authz has to know all of Envoy's routes."""
        try:
            change(parts, self._parts, self._folder, self._watcher)
            self._swap_authz(self.config)
        except (AuthzError, OSError) as error:
            raise StartError(
                f"{why}; the changes could not be undone, restart the gateway: {error}"
            ) from None


def _replaced(old: Parts, new: Parts) -> list[str]:
    """Return the providers whose clusters, or the files that they name, have changed."""
    return [
        name
        for name, clusters in new.of_provider.items()
        if name in old.of_provider and old.of_provider[name] != clusters
    ]


def _line(text: str) -> str:
    return " ".join(text.split())
