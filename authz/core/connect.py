"""Decides on a CONNECT to the AI Gateway Proxy, as Coder does."""

import base64
import binascii
from collections.abc import Iterable

from authz.core import tokens
from authz.core.decision_types import Allow, Decision, Deny
from authz.core.header_names import GOVERNANCE, PROXY_AUTHORIZATION
from authz.core.identity import Identity, Rejection
from authz.core.refusals import Reason, proxy_challenge
from authz.core.tokens import CoderToken


def read_password(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Read the password of ``Proxy-Authorization: Basic``, which is the Coder token.

    Args:
        headers: lower-case names and raw values, duplicates kept.

    Returns:
        The text after the first colon; None when the header is missing, repeated, of another
        scheme, not standard base64 with padding, or without a password. The user name is ignored.
    """
    values = [value for name, value in headers if name == PROXY_AUTHORIZATION]
    if len(values) != 1:
        return None
    fields = values[0].split()
    if len(fields) != 2 or fields[0].lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(fields[1], validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded.partition(":")[2] or None


def precheck_connect(password: str | None) -> CoderToken | Deny:
    """Find the Coder token of a CONNECT, or refuse it without a look-up.

    Args:
        password: of ``Proxy-Authorization``; None where it has no readable password.
    """
    if password is None:
        return _challenge(Reason.TOKEN_MISSING, None)
    return tokens.parse(password) or _challenge(Reason.TOKEN_MALFORMED, None)


def decide_connect(token: CoderToken, verification: Identity | Rejection) -> Decision:
    """Decide on a CONNECT; the token becomes the governance header of the tunnel's requests."""
    if isinstance(verification, Rejection):
        return _challenge(verification, token.id)
    return Allow(
        identity=verification,
        provider=None,
        mode=None,
        header=GOVERNANCE,
        credential=token.text,
        hint="",
    )


def _challenge(reason: Reason | Rejection, token_id: str | None) -> Deny:
    refusal = proxy_challenge(reason)
    return Deny(refusal, refusal.message, token_id=token_id)
