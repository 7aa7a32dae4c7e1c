"""An identity source in memory, for tests of the code before and after it."""

from collections.abc import Mapping
from datetime import UTC, datetime

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken, parse

EXPIRES_AT = datetime(2099, 1, 1, tzinfo=UTC)


def identity_of(token: str, username: str) -> Identity:
    """Return the identity that a token of ``username`` proves."""
    return Identity(
        user_id=f"uuid-of-{username}",
        username=username,
        email=f"{username}@example.com",
        token_id=token[:10],
        token_name=f"token-of-{username}",
        expires_at=EXPIRES_AT,
    )


class InMemoryIdentities:
    """Looks tokens up in a mapping of their text to a user name or rejection, else unknown.

    Attributes:
        failure: raised by every look-up, once set.
        asked: ids of the tokens that were looked up, in order.
    """

    def __init__(self, known: Mapping[str, str | Rejection]) -> None:
        self.failure: BaseException | None = None
        self.asked: list[str] = []
        self._verdicts: dict[CoderToken, Identity | Rejection] = {}
        for text, who in known.items():
            token = parse(text)
            assert token is not None, "only well-formed tokens are ever looked up"
            self._verdicts[token] = who if isinstance(who, Rejection) else identity_of(text, who)

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Return the identity of a token, as ``IdentitySource`` demands."""
        self.asked.append(token.id)
        if self.failure is not None:
            raise self.failure
        verification = self._verdicts.get(token)
        if verification is not None:
            return verification
        ids = {known.id for known in self._verdicts}
        return Rejection.WRONG_SECRET if token.id in ids else Rejection.UNKNOWN

    async def check_ready(self) -> None:
        """Do nothing, or raise the failure if one is set."""
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """Do nothing, as there is nothing to release."""
