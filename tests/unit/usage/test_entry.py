"""authz.usage.entry and authz.check.entry_ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.check.entry_ids import ID, EntryIds
from authz.check.ext_authz import ENTRY_ID_LENGTH
from authz.usage.entry import Usage, judge


@pytest.mark.parametrize(
    ("decision", "status", "extracted", "encoding", "is_cancelled", "usage"),
    [
        ("allow", 200, 1, "", False, Usage.COMPLETE),
        ("allow", 200, 2, "", False, Usage.PARTIAL),
        ("allow", 200, 3, "", False, Usage.FAILED),
        ("allow", 200, None, "", False, Usage.NONE),
        ("allow", 200, None, "gzip", False, Usage.COMPRESSED),
        ("allow", 200, 3, "br", False, Usage.COMPRESSED),
        ("allow", 200, None, "identity", False, Usage.NONE),
        ("allow", 200, None, "", True, Usage.CANCELLED),
        ("allow", 200, None, "gzip", True, Usage.CANCELLED),
        # All had been said when the client left.
        ("allow", 200, 1, "", True, Usage.COMPLETE),
        ("allow", 500, None, "", False, Usage.ERROR),
        ("deny", 401, None, "", False, Usage.REFUSED),
        ("", 503, None, "", False, Usage.REFUSED),
    ],
)
def test_what_is_known(
    decision: str,
    status: int,
    extracted: int | None,
    encoding: str,
    is_cancelled: bool,
    usage: Usage,
) -> None:
    """A refusal, an error, a compressed answer and a stream that was left are told apart."""
    found = judge(
        decision=decision,
        status=status,
        extracted=extracted,
        encoding=encoding,
        is_cancelled=is_cancelled,
    )
    assert found is usage


@given(st.integers(min_value=1, max_value=50))
def test_ids(count: int) -> None:
    """Ids are unique, in order and of one length, and begin with the name of the process."""
    ids = EntryIds()
    given_out = [ids.next() for _ in range(count)]
    assert given_out == sorted(set(given_out))
    assert ids.issued == count
    for one in given_out:
        assert len(one) == ENTRY_ID_LENGTH
        assert ID.fullmatch(one.decode())
        assert one.startswith(ids.process.encode())
    assert EntryIds().process != ids.process
    old = ids.process
    ids.renew()
    assert ids.issued == 0
    assert ids.process != old
    assert ids.next().startswith(ids.process.encode())
