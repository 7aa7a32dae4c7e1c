"""Settings of the tokens in authz's own store."""

from typing import Annotated

from pydantic import AfterValidator, Field

from authz.config.fields import LongSeconds, Section
from authz.config.webhook import Webhook
from authz.core.tokens import MAX_PER_USER

_DAY = 86_400


def _distinct(before: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(before)) != len(before):
        raise ValueError("two values are the same")
    return before


class TokenNotices(Section):
    """Notices of tokens that end soon.

    Attributes:
        webhook: the receiver of the notices.
        before: how long before the end of a token there is a notice, such as ``[7d, 1d]``. A token
            with a shorter lifetime gets none.
    """

    webhook: Webhook
    before: Annotated[
        tuple[LongSeconds, ...], Field(min_length=1, max_length=5), AfterValidator(_distinct)
    ] = (7 * _DAY, _DAY)


class Tokens(Section):
    """The tokens in authz's own store (docs/tokens.md).

    Attributes:
        max_per_user: how many valid tokens a user may have. Tokens that rules for machines give
            count, but have a limit of their own.
        notices: notices of tokens that end soon. Unset means that there are none.
    """

    max_per_user: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = MAX_PER_USER
    notices: TokenNotices | None = None
