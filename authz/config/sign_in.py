"""Settings of sign-in."""

from authz.config.fields import Section
from authz.config.machines import Machines


class SignIn(Section):
    """The ways to get a token of authz's own store. Coder's users sign in to Coder.

    Attributes:
        machines: short-lived tokens for workloads with an identity of their own, such as CI jobs
            (docs/machines.md). Unset means that there are none.
    """

    machines: Machines | None = None
