"""The errors that authz shows to a person.

::

    AuthzError
      ConfigError            gateway.yaml, environment or flags: lists every problem at once
      StoreError             the store refuses: unknown user, name taken, bad lifetime
        ManagedByCoder       Coder manages users and tokens: authz has no store of its own
      IdentityUnavailable    the identity source does not verify the token; a request gets 503
        IdentityUnreachable  because the identity source does not answer at all
      StartError             a part of the pair can't start: port in use, Envoy missing
      ReloadError            a new configuration can't be used, and the earlier one stays in use

A message names what is wrong and what to fix, in one line, and never holds a secret.
"""


class AuthzError(Exception):
    """The root of all errors for a person; the command line prints it and exits with 1."""


class ConfigError(AuthzError):
    """The configuration is wrong.

    Args:
        problems: one line each, ``key.path: what is wrong``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StoreError(AuthzError):
    """The store refuses an operation or can't be used."""


class ManagedByCoder(StoreError):  # noqa: N818 - a state of the source
    """Coder manages the users and tokens, so authz has no store of its own."""


class IdentityUnavailable(AuthzError):  # noqa: N818 - a state of the source, named like HTTP's 503
    """The identity source neither accepts nor rejects the token."""


class IdentityUnreachable(IdentityUnavailable):
    """The identity source does not answer at all, which is an outage.

    Only this error starts the grace period of ``identity_stale_if_error``. A source with an
    unexpected answer, such as 429, is up, and the token may be deleted by now.
    """


class StartError(AuthzError):
    """A process of the pair can't start or has ended."""


class ReloadError(AuthzError):
    """A new configuration can't be used, and the earlier one stays in use."""


def what_failed(error: OSError) -> str:
    """Return the system's message, without the address that ``socket.create_server`` adds."""
    return (error.strerror or type(error).__name__).partition(" (while attempting")[0]
