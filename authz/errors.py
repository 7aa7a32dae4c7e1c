"""Every error that authz shows a person.

::

    AuthzError
      ConfigError            gateway.yaml, environment or flags: lists every problem at once
      StoreError             the embedded store refuses: unknown user, name taken, bad lifetime
        ManagedByCoder       users and tokens are Coder's: there is no store of ours
      IdentityUnavailable    nothing is known about the token now; a request gets 503
        IdentityUnreachable  because the identity source gives no answer at all
      StartError             a part of the pair can't start: port in use, Envoy missing
      ReloadError            a new configuration can't be used, and the one before is kept

A message names what is wrong and what to fix, in one line, and never holds a secret.
"""


class AuthzError(Exception):
    """Root of all errors meant for a person; the command line prints it and exits 1."""


class ConfigError(AuthzError):
    """The configuration is wrong.

    Args:
        problems: one line each, ``key.path: what is wrong``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StoreError(AuthzError):
    """The embedded store can't do what it was asked."""


class ManagedByCoder(StoreError):  # noqa: N818 - a state of the source
    """Coder manages the users and tokens, so there is no store of ours."""


class IdentityUnavailable(AuthzError):  # noqa: N818 - a state of the source, named like HTTP's 503
    """The identity source does not say whose token it is, so nothing is known about it."""


class IdentityUnreachable(IdentityUnavailable):
    """The identity source gives no answer at all: it is an outage.

    Only this one starts the grace of ``identity_stale_if_error``. A source that answers something
    else than expected, such as 429, is up, and may have forgotten the token by now.
    """


class StartError(AuthzError):
    """A process of the pair can't start or has ended."""


class ReloadError(AuthzError):
    """A new configuration can't be used; the one before is served on."""


def what_failed(error: OSError) -> str:
    """Return the system's words, without the address that ``socket.create_server`` adds to them."""
    return (error.strerror or type(error).__name__).partition(" (while attempting")[0]
