"""Carry one sentence about a change from the form that made it to the page after it."""

import base64
import hashlib
import hmac
import re

DONE_COOKIE = "authz_done"
"""A cookie with the sentence, which the next page shows and removes."""
MAX_AGE_SECONDS = 60
_LONGEST = 400
_SEALED = re.compile(r"[0-9A-Za-z_-]{1,1600}\.[0-9a-f]{64}")


def seal(text: str, secret: str) -> str:
    """Return the cookie's value for a sentence.

    Args:
        text: the sentence; a long one is cut.
        secret: of the session, so that no other site and no other session can choose the text.
    """
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    encoded = base64.urlsafe_b64encode(shown.encode()).decode().rstrip("=")
    return f"{encoded}.{_mac(encoded, secret)}"


def unseal(value: str, secret: str) -> str:
    """Return the sentence of a cookie; empty if this session did not write it."""
    if not secret or _SEALED.fullmatch(value) is None:
        return ""
    encoded, _, mac = value.partition(".")
    if not hmac.compare_digest(mac, _mac(encoded, secret)):
        return ""
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


def _mac(encoded: str, secret: str) -> str:
    message = b"authz page: done\0" + encoded.encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
