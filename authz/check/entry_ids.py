"""The ids that authz gives to requests, so that none is counted twice and a lost one is noticed."""

import re
import secrets

ID = re.compile(r"[0-9a-f]{12}-[0-9]{12}")


class EntryIds:
    """Numbers the requests that this process has answered the check of.

    Attributes:
        process: names this process; no other has the name.
        issued: how many ids were given.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Take a new name and number requests from 1 again, as a new process would."""
        self.process = secrets.token_hex(6)
        self.issued = 0
        self._prefix = f"{self.process}-".encode("ascii")

    def next(self) -> bytes:
        """Return the next id, of 25 ASCII characters."""
        self.issued += 1
        return self._prefix + b"%012d" % self.issued
