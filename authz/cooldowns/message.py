"""The message about a refused key.

It names the provider and the place of the key. A code that is made with the key itself shows that
the sender has the same key there, for the same base URL. So the message needs no key, and only a
process that has the key can write it.
"""

import hashlib
import hmac
import json
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from authz.keys.pool import MAX_KEYS
from authz.keys.refusal import Refusal, Requester
from authz.secret import Secret

_PURPOSE = "authz refused key 1"
MAX_LENGTH = 4096


def _checked_status(status: int) -> int:
    # A Literal would take 429.0, too.
    if status not in (401, 429):
        raise ValueError("must be 401 or 429")
    return status


class KeyMessage(BaseModel):
    """A message whose sender is not proven yet; see ``refusal_of``.

    Attributes:
        provider: its name.
        index: the place of the key.
        status: 429 or 401.
        until: the end of the cooldown, in milliseconds of the database's time.
        user_id: of the sender of the refused request.
        is_confirmed: as in ``Refusal``.
        code: shows that the sender has the key.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    provider: str
    index: Annotated[int, Field(ge=0, lt=MAX_KEYS)]
    status: Annotated[int, AfterValidator(_checked_status)]
    until: Annotated[int, Field(ge=0, lt=1 << 53)]
    user_id: str
    is_confirmed: bool
    code: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def write(provider: str, base_url: str, refusal: Refusal, now: float) -> str:
    """Return the message about a refusal.

    Args:
        provider: its name.
        base_url: of the provider.
        refusal: is described.
        now: the time of the database in seconds.
    """
    unproven = KeyMessage(
        provider=provider,
        index=refusal.index,
        status=refusal.status,
        until=round((now + refusal.seconds) * 1000),
        user_id=refusal.requester.user_id,
        is_confirmed=refusal.is_confirmed,
        code="0" * 64,
    )
    code = _code(unproven, base_url, refusal.key)
    return unproven.model_copy(update={"code": code}).model_dump_json()


def read(text: str) -> KeyMessage | None:
    """Return the message that a text holds, or None for any other text."""
    if len(text) > MAX_LENGTH:
        return None
    try:
        return KeyMessage.model_validate_json(text)
    except ValidationError:
        return None


def refusal_of(message: KeyMessage, base_url: str, key: Secret, now: float) -> Refusal | None:
    """Return what a message says about a key, or None if it is about another key, or over.

    Args:
        message: of a process that may have the key.
        base_url: of the provider.
        key: the key that is in the place now.
        now: the time of the database in seconds.
    """
    if not hmac.compare_digest(message.code, _code(message, base_url, key)):
        return None
    seconds = message.until / 1000 - now
    if seconds <= 0:
        return None
    return Refusal(
        message.index,
        key,
        message.status,
        seconds,
        Requester(user_id=message.user_id),
        message.is_confirmed,
    )


def _code(message: KeyMessage, base_url: str, key: Secret) -> str:
    values = [
        _PURPOSE,
        message.provider,
        base_url,
        message.index,
        message.status,
        message.until,
        message.user_id,
        message.is_confirmed,
    ]
    secret = key.reveal().encode("utf-8", "surrogatepass")
    return hmac.new(secret, json.dumps(values).encode(), hashlib.sha256).hexdigest()
