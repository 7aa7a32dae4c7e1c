"""Keeps the keys fresh that commands print, for the pools in use."""

from collections.abc import Callable, Mapping

from authz.keys.exec_key import ExecKey, close_others
from authz.keys.pool import KeyPool


class KeyCommands:
    """The commands of the pools in use.

    Args:
        failed: called with the provider after each failure of a command, in another thread.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._providers: dict[ExecKey, list[str]] = {}
        self._stopped: list[ExecKey] = []

    def use(self, pools: Mapping[str, KeyPool]) -> None:
        """Run the commands of these pools from now on, and no other ones.

        A command that was in use before runs soon: a reload means that a key may have changed.
        """
        before, self._providers = self._providers, {}
        for provider, pool in pools.items():
            for key in pool.keys:
                if isinstance(key, ExecKey):
                    self._providers.setdefault(key, []).append(provider)
        for key, providers in self._providers.items():
            key.start(providers, self._reporter(providers))
            if key in before:
                key.refresh_soon(always=True)
        if before or self._providers:
            close_others(self._providers, forget=True)

    def refused(self, provider: str) -> None:
        """Run the commands of a provider soon, because it does not know their key any more."""
        for key, providers in self._providers.items():
            if provider in providers:
                key.refresh_soon()

    def stop(self) -> None:
        """Let all commands end."""
        self._stopped = close_others(())

    def join(self) -> None:
        """Wait until they have ended, a twentieth of a second; it blocks."""
        for key in self._stopped:
            key.join()

    def _reporter(self, providers: list[str]) -> Callable[[], None]:
        def report() -> None:
            for provider in dict.fromkeys(providers):
                self._failed(provider)

        return report
