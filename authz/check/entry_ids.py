"""Gives each request an id, so that usage counts no request twice and notices a lost one."""

import re
import secrets

ID = re.compile(r"[0-9a-f]{12}-[0-9]{12}")


class EntryIds:
    """Numbers the requests whose checks this process has answered.

    Attributes:
        process: a unique name of this process.
        issued: the number of ids so far.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Take a new name and number requests from 1 again, as a new process would."""
        self.process = secrets.token_hex(6)
        self.issued = 0
        self._prefix = f"{self.process}-".encode("ascii")

    def next(self) -> bytes:
        """Return the next id, 25 ASCII characters."""
        self.issued += 1
        return self._prefix + b"%012d" % self.issued
