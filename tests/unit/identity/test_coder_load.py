"""authz.identity.coder_source: requests that share calls, floods, and closing."""

import asyncio
import contextlib

import pytest

from authz.core.identity import Identity, Rejection
from authz.core.tokens import generate
from authz.errors import IdentityUnavailable
from authz.identity.coder_source import CONNECTIONS, CoderSource
from tests.support.canned import (
    USERS_ME,
)
from tests.support.coder import Coder
from tests.unit.identity.asking import reached, read, unknown


@pytest.mark.usefixtures("patient")
async def test_concurrent_requests_share_the_next_call(
    coder: Coder, coder_source: CoderSource
) -> None:
    """All requests for a token that arrive while a call is under way share one further call."""
    token = read(coder.state.create_key("alice"))
    coder.delay = 0.5
    first = asyncio.create_task(coder_source.verify(token))
    await reached(lambda: bool(coder.calls))
    rest = []
    for _ in range(20):
        rest += [asyncio.create_task(coder_source.verify(token)) for _ in range(10)]
        await asyncio.sleep(0)
    verifications = await asyncio.gather(first, *rest)
    assert all(isinstance(one, Identity) for one in verifications)
    assert coder.calls[USERS_ME] == 2


@pytest.mark.usefixtures("patient")
async def test_nobody_joins_a_call_that_began_before_a_deletion(
    coder: Coder, coder_source: CoderSource
) -> None:
    """A request that is made after the deletion is refused, while the older call still allows."""
    token = read(text := coder.state.create_key("alice"))
    await coder_source.verify(token)
    coder.delay = 0.5
    older = asyncio.create_task(coder_source.verify(token))
    await reached(lambda: coder.calls[USERS_ME] == 2 and coder.answering == 1)
    coder.state.delete_key(text)
    coder.delay = 0
    newer = [asyncio.create_task(coder_source.verify(token)) for _ in range(20)]
    assert await asyncio.gather(*newer) == [Rejection.UNKNOWN] * 20
    assert isinstance(await older, Identity)


@pytest.mark.usefixtures("patient")
async def test_a_flood_of_unknown_tokens_does_not_starve_good_ones(
    coder: Coder, coder_source: CoderSource
) -> None:
    """A flood uses half of the connections and bounded memory; good tokens keep the other half."""
    good = [read(coder.state.create_key("alice")) for _ in range(5)]
    for token in good:
        await coder_source.verify(token)
    coder.hang_unknown = True
    flood = [asyncio.create_task(coder_source.verify(unknown())) for _ in range(2000)]
    await reached(lambda: coder.hanging > 0)
    # A good token that had to wait for the flood would not be answered in its time.
    for token in good:
        assert isinstance(await coder_source.verify(token), Identity)
        assert coder.hanging <= CONNECTIONS // 2
    refused = [str(task.exception()) for task in flood if task.done()]
    assert len(refused) > 500
    assert all("too many" in text for text in refused)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_tokens_of_those_who_left_are_not_asked_about(
    coder: Coder, coder_source: CoderSource
) -> None:
    """After a flood whose time is over, Coder is asked about the next unknown token alone."""
    coder.hang_unknown = True
    flood = [asyncio.create_task(coder_source.verify(unknown())) for _ in range(500)]
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert all(isinstance(one, IdentityUnavailable) for one in outcomes)
    coder.hang_unknown = False
    before = coder.calls[USERS_ME]
    verification = None
    while verification is None:
        with contextlib.suppress(IdentityUnavailable):
            verification = await coder_source.verify(unknown())
    assert verification is Rejection.UNKNOWN
    assert coder.calls[USERS_ME] - before < 50


@pytest.mark.usefixtures("patient")
async def test_an_id_alone_gets_no_place_among_the_good(
    coder: Coder, coder_source: CoderSource
) -> None:
    """A good token's id with another secret counts as unknown, since the id is no secret."""
    text = coder.state.create_key("alice")
    await coder_source.verify(read(text))
    coder.hang_unknown = True
    forged = [read(f"{text[:10]}-{number:022d}") for number in range(CONNECTIONS)]
    flood = [asyncio.create_task(coder_source.verify(one)) for one in forged]
    await reached(lambda: coder.hanging > 0)
    assert isinstance(await coder_source.verify(read(text)), Identity)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


@pytest.mark.usefixtures("patient")
async def test_invented_tokens_leave_room_for_revoked_ones(
    coder: Coder, coder_source: CoderSource
) -> None:
    """A flood asks Coder so seldom that its limit is kept: a revoked token is still a 401."""
    good, revoked = (read(coder.state.create_key("alice")) for _ in range(2))
    for token in (good, revoked):
        await coder_source.verify(token)
    coder.bad_limit = 512
    outcomes = await asyncio.gather(
        *(coder_source.verify(unknown()) for _ in range(2000)), return_exceptions=True
    )
    texts = set(map(str, outcomes))
    assert Rejection.UNKNOWN in texts
    assert any("many bad tokens" in text for text in texts)
    assert not any("took too long" in text for text in texts)
    assert coder.calls[USERS_ME] < 512
    assert revoked.text is not None
    coder.state.delete_key(revoked.text.reveal())
    assert await coder_source.verify(revoked) is Rejection.UNKNOWN
    assert isinstance(await coder_source.verify(good), Identity)


@pytest.mark.usefixtures("patient")
async def test_a_bad_token_again_and_again_costs_one_call(
    coder: Coder, coder_source: CoderSource
) -> None:
    """A client that keeps sending a dead token is refused without asking Coder each time."""
    token = unknown()
    for _ in range(3):
        verifications = await asyncio.gather(*(coder_source.verify(token) for _ in range(100)))
        assert set(verifications) == {Rejection.UNKNOWN}
    assert coder.calls[USERS_ME] == 1


@pytest.mark.usefixtures("patient")
async def test_coders_limit_for_bad_tokens(coder: Coder, coder_source: CoderSource) -> None:
    """While Coder answers 429 for bad tokens, those never pass, but good ones do, even new ones."""
    known, revoked = (read(coder.state.create_key("alice")) for _ in range(2))
    for token in (known, revoked):
        await coder_source.verify(token)
    coder.bad_limit = 0
    assert revoked.text is not None
    coder.state.delete_key(revoked.text.reveal())
    invented = unknown()
    for token in (revoked, invented, invented):
        with pytest.raises(IdentityUnavailable, match="429"):
            await coder_source.verify(token)
    for token in (known, read(coder.state.create_key("alice"))):
        assert isinstance(await coder_source.verify(token), Identity)


@pytest.mark.usefixtures("patient")
async def test_new_tokens_cost_nothing(coder: Coder, coder_source: CoderSource) -> None:
    """Good tokens that are unknown after a start use up no limit, however many there are."""
    tokens = [read(coder.state.create_key("alice")) for _ in range(200)]
    verifications = await asyncio.gather(*(coder_source.verify(token) for token in tokens))
    assert all(isinstance(one, Identity) for one in verifications)


async def test_close(coder: Coder) -> None:
    """Closing fails waiting callers, leaves no task or connection, and may be done twice."""
    before = asyncio.all_tasks()
    source = CoderSource(coder.url)
    await source.close()
    source = CoderSource(coder.url)
    coder.hang = True
    waiting = asyncio.create_task(source.verify(unknown()))
    await reached(lambda: bool(coder.calls))
    await source.close()
    with pytest.raises(IdentityUnavailable, match="closed"):
        await waiting
    for call in (source.verify(unknown()), source.check_ready()):
        with pytest.raises(IdentityUnavailable, match="closed"):
            await call
    await source.close()
    assert asyncio.all_tasks() == before


async def test_a_token_without_its_text_is_an_error(coder_source: CoderSource) -> None:
    """A token without its text can't be passed on to Coder, and is never allowed."""
    with pytest.raises(IdentityUnavailable, match="ValueError"):
        await coder_source.verify(generate()[1])
