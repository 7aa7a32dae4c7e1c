"""Parts of the stack are killed, frozen, stopped and cut off under load."""

import pytest

from tests.containers.events import EVENTS, Event
from tests.containers.measuring import CONNECTIONS, measure
from tests.containers.stack import Stack


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name.replace(" ", "-"))
def test_event(stack: Stack, event: Event) -> None:
    """A client sees no more of an event than is documented, and no wrong token is ever accepted."""
    if (stack.envoys, stack.authzs) != (2, 2):
        stack.scale(envoys=2, authzs=2)
    result = measure(stack, event)
    print(f"{event.name}: {result}")
    assert result.allowed == 0
    match event.sees:
        case "nothing":
            assert not result.failed
        case "cuts":
            # Those that were under way, and those that the balancer sent to a dead address until
            # its health check had failed.
            assert set(result.failed) <= {0}
            assert result.failed[0] <= 5 * CONNECTIONS
        case "outage":
            assert set(result.failed) <= {0}
        case "start":
            assert set(result.failed) <= {0, 503}
        case "503":
            assert set(result.failed) <= {503}
            assert int(result.refusal["retry-after"]) > 0
