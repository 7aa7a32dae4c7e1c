"""A response that its server sends later."""

from typing import Self


class DelayedResponse(bytes):
    """The bytes of a response, and the seconds for which the server keeps them.

    Attributes:
        seconds: a server that stops may send the response earlier.
    """

    seconds: float

    def __new__(cls, response: bytes, seconds: float) -> Self:
        """Return ``response``, to be sent after ``seconds``."""
        delayed = super().__new__(cls, response)
        delayed.seconds = seconds
        return delayed
