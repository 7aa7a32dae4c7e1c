"""Keys that a command prints, such as ``vault``, ``aws``, ``gcloud`` or ``op``."""

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping

import structlog

from authz.keys.command import CommandError, Origin
from authz.keys.shared_outputs import Output, SharedOutputs
from authz.keys.sources import checked_key
from authz.secret import Secret

_log = structlog.get_logger(__name__)

EARLY_SECONDS = 30.0
"""The shortest time between two runs that a provider's 401 causes."""
RETRY_SECONDS = 15.0
"""Time to the next run after a failure. It doubles with each further one, up to ``refresh``."""
STOP_SECONDS = 1.0
"""The longest wait for a thread at the end. It takes a twentieth of a second."""
_SHARE_SECONDS = 2.0
"""The time between two looks for a key that another worker obtained."""


class ExecKey:
    """A key that a command prints. The command runs again and again in a thread.

    While it fails, the last good key stays in use.

    Args:
        command: the command.
        environ: the environment of authz.
        outputs: the results that this process shares with its workers.

    Raises:
        ValueError: the first run gives no key; the message does not show its output.
    """

    def __init__(self, command: Origin, environ: Mapping[str, str], outputs: SharedOutputs) -> None:
        self.command = command
        self._environ = environ
        self._outputs = outputs
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._forget = False
        self._thread: threading.Thread | None = None
        self._report: Callable[[], None] = lambda: None
        self._providers: tuple[str, ...] = ()
        self._failures = 0
        self._wanted = 0.0
        self._started = 0.0
        output = self._obtain(newer_than=time.monotonic() - command.refresh, believe=False)
        if output.problem:
            raise CommandError(output.problem)
        self._started, self._key = output.started, Secret(output.key)

    def current(self) -> Secret:
        """Return the last good key."""
        return self._key

    def start(self, providers: Collection[str], report: Callable[[], None]) -> None:
        """Run the command in the background from now on, or change who is told about failures.

        Args:
            providers: the providers that use the key, for the log.
            report: called in the thread after each failure.
        """
        self._providers, self._report = tuple(providers), report
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._keep_fresh, name="authz-key-command", daemon=True
            )
            self._thread.start()

    def stop(self, *, forget: bool = False) -> None:
        """Let the thread end, and the command that it runs; the last key stays.

        Args:
            forget: also remove the key from the shared memory.
        """
        self._forget = forget
        self._stop.set()
        self._wake.set()

    def join(self) -> None:
        """Wait until the thread has ended after ``stop``."""
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def refresh_soon(self, *, always: bool = False) -> None:
        """Run the command soon, but not within 30 s of the last run.

        Args:
            always: run it in any case, because an operator asks.
        """
        now = time.monotonic()
        if always or now - self._started >= EARLY_SECONDS:
            self._wanted = now
            self._wake.set()

    def refresh(self) -> None:
        """Get the key, from the command or from a worker that has run it; keep the old on failure.

        It blocks, so only the thread calls it.
        """
        half = time.monotonic() - self.command.refresh / 2
        # After a failure the shared result may be that failure, which is not to be believed again.
        newer_than = max(self._wanted, self._started if self._failures else half)
        self._take(self._obtain(newer_than))

    def _obtain(self, newer_than: float, *, believe: bool = True) -> Output:
        """Return the result of a run.

        Args:
            newer_than: the result of another worker counts if its run began after this time.
            believe: whether a failure of another worker counts, too.
        """
        with self._outputs.turn(self.command, self._stop.is_set):
            shared = self._outputs.get(self.command)
            is_new = shared is not None and shared.started > newer_than
            if shared is not None and is_new and (believe or not shared.problem):
                return shared
            started = time.monotonic()
            try:
                text = self.command.obtain(self._environ, self._stop.is_set).decode("utf-8")
                output = Output(started, checked_key(text).reveal())
            except UnicodeDecodeError:
                output = Output(started, "", "the command's output is not UTF-8 text")
            except CommandError as error:
                output = Output(started, "", str(error))
            except ValueError as error:
                output = Output(started, "", f"the command's output {error}")
            if not self._stop.is_set():
                self._outputs.put(self.command, output)
            return output

    def _take(self, output: Output) -> None:
        if self._stop.is_set():
            return
        self._started = output.started
        if output.problem:
            self._failures += 1
            self._report()
            if self._failures == 1:
                _log.error(
                    f"central key kept: its {self.command.what} fails",
                    providers=self._providers,
                    why=output.problem,
                )
            return
        if self._failures:
            self._failures = 0
            _log.info(
                f"{self.command.what} of a central key works again", providers=self._providers
            )
        key = Secret(output.key)
        if key != self._key:
            self._key = key
            _log.info(f"central key replaced by its {self.command.what}", providers=self._providers)

    def _keep_fresh(self) -> None:
        self._run_until_stopped()
        if self._forget:
            self._outputs.forget(self.command)

    def _run_until_stopped(self) -> None:
        due = self._next_run()
        while not self._stop.is_set():
            left = due - time.monotonic()
            if left > 0 and not self._wake.wait(min(left, self._patience())):
                self._take_shared()
                continue
            self._wake.clear()
            try:
                self.refresh()
            except CommandError:
                return  # authz stops
            except Exception as error:
                # The thread has to go on; only the type, since a message could quote the key.
                _log.error(
                    f"{self.command.what} of a central key not run", error=type(error).__name__
                )
            due = self._next_run()

    def _next_run(self) -> float:
        """Return the time of the next run, spread so that machines do not run it together."""
        seconds = self.command.refresh
        if self._failures:
            seconds = min(seconds, RETRY_SECONDS * 2.0 ** min(self._failures - 1, 10))
        return time.monotonic() + seconds * random.uniform(0.8, 1.0)  # noqa: S311 - no secret

    def _patience(self) -> float:
        return _SHARE_SECONDS if self._outputs.is_inherited else threading.TIMEOUT_MAX

    def _take_shared(self) -> None:
        """Take the key that another worker has got early."""
        if not self._outputs.is_inherited:
            return
        shared = self._outputs.get(self.command)
        if shared is not None and not shared.problem and shared.started > self._started:
            self._take(shared)


_outputs: SharedOutputs | None = None
_open: dict[Origin, ExecKey] = {}
_lock = threading.Lock()


def shared_outputs(descriptor: int | None = None) -> SharedOutputs:
    """Return the results that this process shares with its children.

    Args:
        descriptor: inherited from the parent; it has to be given before the first key is opened.
    """
    global _outputs
    if _outputs is None:
        _outputs = SharedOutputs(descriptor)
    return _outputs


def open_exec_key(command: Origin, environ: Mapping[str, str]) -> ExecKey:
    """Return the key of a command. In one process a command has one key, also after a reload.

    Raises:
        ValueError: the first run gives no key.
    """
    with _lock:
        key = _open.get(command)
        if key is None:
            key = _open[command] = ExecKey(command, environ, shared_outputs())
        return key


def close_others(used: Collection[ExecKey], *, forget: bool = False) -> list[ExecKey]:
    """Stop the keys that are not in use any more, and return them.

    Args:
        used: the keys that go on.
        forget: also remove the others from the shared memory, because the configuration has
            changed. A process that only ends leaves them to the other workers.
    """
    with _lock:
        closed = [key for key in _open.values() if key not in used]
        for key in closed:
            del _open[key.command]
            key.stop(forget=forget)
    return closed
