"""The identity source on Coder's API, which is called with the token itself."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from cachetools import LRUCache

from authz.core.identity import Identity, Rejection
from authz.core.tokens import CoderToken
from authz.errors import IdentityUnavailable, IdentityUnreachable
from authz.identity.bad_tokens import BadTokens
from authz.identity.batch import LOOK_UP_SECONDS, Batcher
from authz.identity.coder_answer import (
    RateLimited,
    is_build_info,
    is_final,
    is_narrow,
    read_user,
)
from authz.identity.coder_http import CoderHTTP, trusted

CONNECTIONS = 32
"""The maximum number of concurrent calls of one process."""

CALL_SECONDS = LOOK_UP_SECONDS - 0.1
"""The time limit of a call, which leaves its caller time to use the answer."""

_SLOW = f"Coder's API gave no answer within {CALL_SECONDS:.1f} s"
_MAX_GOOD = 100_000
_USER, _BUILD_INFO = "/api/v2/users/me", "/api/v2/buildinfo"


class CoderSource:
    """A source that sends each token to Coder.

    Requests with the same token share a call that has not started yet. Half of the connections are
    reserved for tokens that were valid at their last call, so that a flood of invalid ones does not
    delay them. ``BadTokens`` limits the calls of such a flood.

    Args:
        base: the URL of the deployment, without a slash at the end.
        ca_file: PEM certificates that are trusted instead of the system's.

    Raises:
        ConfigError: ``ca_file`` can't be used.
    """

    def __init__(self, base: str, *, ca_file: Path | None = None) -> None:
        self._base = base
        tls = trusted(base, ca_file)
        self._http = CoderHTTP(base, tls, connections=CONNECTIONS)
        # A separate connection, because readiness probes need no token and must not delay others.
        self._readiness = CoderHTTP(base, tls, connections=1)
        # The tokens that were valid last. The key is the digest, because an id is not secret and
        # would let a flood use the connections of valid tokens.
        self._good: LRUCache[bytes, Literal[True]] = LRUCache(_MAX_GOOD)
        half = CONNECTIONS // 2
        # Few unknown tokens may wait: behind a flood no look-up would be in time.
        self._known, self._unknown = (
            Batcher[CoderToken, Identity | Rejection](
                look_up,
                max_batch=1,
                concurrency=half,
                exclusive=True,
                max_waiting=max_waiting,
            )
            for look_up, max_waiting in ((self._look_up, 4096), (self._look_up_unknown, 1024))
        )
        self._bad = BadTokens()
        self._is_coder = False
        self._identifying = asyncio.Lock()

    async def verify(self, token: CoderToken) -> Identity | Rejection:
        """Look the token up in a call that starts now or later.

        A token whose scope does not include its user is valid, but Coder does not return its
        owner. ``user_id``, ``username`` and ``email`` are empty then.

        Raises:
            IdentityUnavailable: Coder does not answer, its answer says nothing about the token, or
                invalid tokens have used up their calls.
        """
        refused = self._bad.refusal(token)
        if refused is not None:
            return refused
        lane = self._known if token.digest in self._good else self._unknown
        verification = await lane.get(token)
        if isinstance(verification, Identity):
            self._good[token.digest] = True
            return verification
        self._good.pop(token.digest, None)
        return verification or Rejection.UNKNOWN

    def verify_now(self, token: CoderToken) -> Rejection | None:
        """Return the refusal of a token that Coder has just refused, else None.

        Raises:
            IdentityUnavailable: Coder has just answered 429 for this token.
        """
        return self._bad.refusal(token)

    async def check_ready(self) -> None:
        """Return when a Coder server answers.

        Raises:
            IdentityUnavailable: no server answers, or it is not Coder.
        """
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._readiness.get(_BUILD_INFO)
        except TimeoutError:
            raise IdentityUnreachable(_SLOW) from None
        if not is_build_info(answer):
            raise IdentityUnavailable(
                f"{self._base}{_BUILD_INFO} answered {answer.status}, and not as a Coder server"
            )
        self._is_coder = True

    async def close(self) -> None:
        """Fail waiting callers and close the connections."""
        self._http.end()
        self._readiness.end()
        await self._known.close()
        await self._unknown.close()
        await self._http.close()
        await self._readiness.close()

    async def _look_up(
        self, tokens: Sequence[CoderToken]
    ) -> Mapping[CoderToken, Identity | Rejection]:
        (token,) = tokens
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return {token: await self._ask(token)}
        except TimeoutError:
            raise IdentityUnreachable(_SLOW) from None

    async def _look_up_unknown(
        self, tokens: Sequence[CoderToken]
    ) -> Mapping[CoderToken, Identity | Rejection]:
        """Look up a token that was not valid at its last call, or never looked up."""
        (token,) = tokens
        refused = self._bad.refusal(token)
        if refused is not None:
            return {token: refused}
        self._bad.take()
        try:
            found = await self._look_up(tokens)
        except RateLimited as error:
            self._bad.limited(token, error.retry_after)
            raise
        except IdentityUnreachable:
            self._bad.give_back()
            raise
        if isinstance(found[token], Identity):
            self._bad.give_back()
        return found

    async def _ask(self, token: CoderToken) -> Identity | Rejection:
        answer = await self._http.get(_USER, token)
        if not is_narrow(answer):
            verification = read_user(answer, token.id)
            if isinstance(verification, Rejection):
                self._bad.remember(token, verification, is_final=is_final(answer))
            return verification
        if not await self._has_identified():
            raise IdentityUnavailable("Coder's API answered 404, but its buildinfo is not Coder's")
        return Identity(
            user_id="", username="", email="", token_id=token.id, token_name="", expires_at=None
        )

    async def _has_identified(self) -> bool:
        """Return whether the server at ``base`` is Coder; a positive answer is kept."""
        async with self._identifying:
            if not self._is_coder:
                self._is_coder = is_build_info(await self._http.get(_BUILD_INFO))
            return self._is_coder
