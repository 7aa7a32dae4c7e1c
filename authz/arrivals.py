"""Lets the checks of one socket read share a look at files that may change.

Revocation is immediate: a check that was sent after a deletion returned must see the deletion. All
bytes of one read had arrived before the read's first check is answered. So a look that happens
during the read is later than the arrival of each of its checks, and one look serves them all. A
check in another read, in a task or on another thread looks again.
"""

import itertools
import threading

_numbers = itertools.count(1)


class Arrival(threading.local):
    """The read that this thread answers now.

    This is no context variable, since a task would inherit that and run after the read.

    Attributes:
        number: differs in each read; 0 outside of a read, where each check must look itself.
    """

    number = 0

    def begin(self) -> None:
        """Begin to answer what one read has returned; the caller must not wait until ``end``."""
        self.number = next(_numbers)

    def end(self) -> None:
        """End the read."""
        self.number = 0


ARRIVAL = Arrival()
