"""Settings of sign-in."""

from typing import Self

from pydantic import StrictBool, model_validator

from authz.config.claude_code import ClaudeCode
from authz.config.fields import Section, Url
from authz.config.machines import Machines
from authz.config.oidc import OidcIssuer


class SignIn(Section):
    """The ways to get a token of authz's own store. Coder's users sign in to Coder.

    Attributes:
        url: the URL under which browsers reach the gateway, without a path. Unset means the
            ``Host`` header of the request, and ``https`` if ``tls`` is set.
        passwords: whether people may sign in with a password (docs/sign-in.md).
        oidc: the OpenID providers that people sign in with, in the order of the buttons.
        machines: short-lived tokens for workloads with an identity of their own, such as CI jobs
            (docs/machines.md). Unset means that there are none.
        claude_code: sign-in from Claude Code and ``authz login --device``
            (docs/claude-code-login.md).
    """

    url: Url | None = None
    passwords: StrictBool = True
    oidc: tuple[OidcIssuer, ...] = ()
    machines: Machines | None = None
    claude_code: ClaudeCode = ClaudeCode()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.url is not None and self.url.path != "/":
            raise ValueError("url: must not have a path")
        for field in ("name", "issuer"):
            values = [getattr(one, field) for one in self.oidc]
            if len(set(values)) != len(values):
                raise ValueError(f"oidc: two providers have the same {field}")
        if not self.passwords and not self.oidc:
            raise ValueError("passwords: false needs oidc: otherwise no person could sign in")
        return self
