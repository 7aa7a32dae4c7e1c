"""authz.external.causes: the log lines about gateways whose configuration can't be safe."""

import pytest
from structlog.testing import capture_logs

from authz.check.readers import UnboundCheck
from authz.external.causes import LOG_SECONDS, Cause, CauseLog


def test_once_a_minute_for_each_cause() -> None:
    """A flood of checks logs a line a minute for each cause, with the number left out."""
    now = 1000.0
    log = CauseLog(lambda: now)
    with capture_logs() as lines:
        for _ in range(5):
            assert isinstance(log.error(Cause.NO_PATH), UnboundCheck)
        log.error(Cause.CLAIM)
        now += LOG_SECONDS
        log.error(Cause.NO_PATH, httproute="a/b")
    assert [line["why"] for line in lines] == [
        Cause.NO_PATH.value,
        Cause.CLAIM.value,
        Cause.NO_PATH.value,
    ]
    assert [line.get("lines_left_out") for line in lines] == [None, None, 4]
    assert lines[2]["httproute"] == "a/b"


@pytest.mark.parametrize("cause", Cause)
def test_each_cause_names_the_cure(cause: Cause) -> None:
    """The text of each cause says which setting to change."""
    assert any(word in cause.value for word in ("set ", "add ", "remove ", "attach ", "have to "))
