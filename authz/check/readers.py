"""The interface for reading the checks of Envoys that authz does not configure."""

from typing import Protocol

from authz.check.ext_authz import Check


class UnboundCheck(LookupError):  # noqa: N818 - the name says the subject
    """A ``CheckReader`` can't know for sure where the route of a check leads; it logs the cause."""


class CheckReader(Protocol):
    """Reads the checks of Envoys that authz does not configure."""

    def read(self, message: bytes) -> Check:
        """Read a serialized ``CheckRequest``, of the project's own Envoy too.

        Raises:
            BadCheck: the bytes are not a ``CheckRequest``.
            UnboundCheck: the check can't be decided.
        """
        ...

    def is_external(self, message: bytes) -> bool:
        """Return whether an Envoy asks that authz does not configure."""
        ...
