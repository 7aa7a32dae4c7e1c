"""Random schedules of arrivals, deletions and slow look-ups, and the rule that they must keep.

The rule: a request that arrives after a token's deletion has completed is not answered with the
old allow. Nothing here waits for real time; a schedule is the same for the same seed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from authz.errors import IdentityUnavailable, IdentityUnreachable

STEPS = 80


class World:
    """The truth about tokens, a clock that counts steps, and look-ups that end when told.

    Attributes:
        now: the clock.
        deleted: when each key was deleted.
        most: the most look-ups that were under way at once.
        twice: whether a key was ever in two look-ups at once.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.deleted: dict[str, float] = {}
        self.most = 0
        self.twice = False
        self._open: list[_LookUp] = []

    def key(self) -> str:
        """Choose a key; few, so that requests for one meet."""
        return self.random.choice("abc") + str(int(self.now) // 40)

    async def look_up(self, keys: Sequence[str]) -> Mapping[str, bool]:
        """Find out which keys are good, at a moment between the call and its return.

        Raises:
            IdentityUnavailable: ``end_one`` made it fail.
        """
        self.twice |= any(set(keys) & set(other.keys) for other in self._open)
        mine = _LookUp(keys)
        self._open.append(mine)
        self.most = max(self.most, len(self._open))
        if self.random.random() < 0.5:
            self._read(mine)
        try:
            await mine.end.wait()
        finally:
            self._open.remove(mine)
        if mine.fails:
            raise IdentityUnreachable("made to fail")
        return mine.found

    def end_one(self, *, fails: bool = False) -> None:
        """Let one of the look-ups read, if it has not yet, and return."""
        waiting = [one for one in self._open if not one.end.is_set()]
        if waiting:
            chosen = self.random.choice(waiting)
            self._read(chosen)
            chosen.fails = fails
            chosen.end.set()

    def read_one(self) -> None:
        """Let one of the look-ups read the truth of now, and return later."""
        if self._open:
            self._read(self.random.choice(self._open))

    def _read(self, look_up: "_LookUp") -> None:
        if not look_up.found:
            look_up.found = {key: key not in self.deleted for key in look_up.keys}


@dataclass(eq=False)
class _LookUp:
    keys: Sequence[str]
    found: dict[str, bool] = field(default_factory=dict)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False


@dataclass(frozen=True)
class Request:
    """One request's fate; times are the world's.

    Attributes:
        answer: what ``ask`` returned, or None when it could not be known.
    """

    key: str
    arrived: float
    answered: float
    answer: object


async def run(
    world: World,
    ask: Callable[[str], Awaitable[object]],
    *,
    failures: float = 0,
    steps: int = STEPS,
) -> list[Request]:
    """Play a random schedule and return every request's fate, in the order of their answers.

    Args:
        ask: a request that arrives; it may raise ``IdentityUnavailable``.
        failures: the share of look-ups that fail.
    """
    requests: list[Request] = []
    tasks: list[asyncio.Task[None]] = []

    async def request(key: str, arrived: float) -> None:
        try:
            answer = await ask(key)
        except IdentityUnavailable:
            answer = None
        requests.append(Request(key, arrived, world.now, answer))

    def end_one() -> None:
        world.end_one(fails=world.random.random() < failures)

    for _ in range(steps):
        world.now += 1
        match world.random.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                tasks.append(asyncio.create_task(request(world.key(), world.now)))
            case 5:
                world.deleted.setdefault(world.key(), world.now)
            case 6:
                world.read_one()
            case _:
                end_one()
        # Some steps follow each other at once, some when everything that can happen has happened.
        for _ in range(world.random.choice((0, 1, 2, 12))):
            await asyncio.sleep(0)
    while not all(task.done() for task in tasks):
        world.now += 1
        assert world.now < 20 * steps, "a request is never answered"
        end_one()
        for _ in range(12):
            await asyncio.sleep(0)
    return requests


def too_late(
    world: World, requests: list[Request], allows: Callable[[object], bool], bound: float = 0
) -> list[Request]:
    """Return the requests that arrived more than ``bound`` steps after a deletion but were allowed.

    A request in the same step as the deletion may have come before or after it, because steps are
    whole numbers. With ``bound`` 0, only a request in a later step arrived later.
    """
    return [
        one
        for one in requests
        if allows(one.answer)
        and one.key in world.deleted
        and one.arrived > world.deleted[one.key] + bound
    ]
