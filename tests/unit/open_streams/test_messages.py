"""authz.open_streams.messages: any bytes from Envoy are a question or a BadCheck."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from authz.check.ext_authz import BadCheck, read_context, write_route
from authz.open_streams.messages import kind_of, read


@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_bytes(message: bytes, route: str) -> None:
    """Nothing but BadCheck is raised."""
    kind_of(message)
    with contextlib.suppress(BadCheck):
        check = read(message, route)
        check.headers  # noqa: B018 - reads them


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=6))
def test_a_route_is_read_as_it_was_written(facts: dict[str, str]) -> None:
    """The facts are those of the route, in ASCII as gRPC's metadata demands."""
    text = write_route(facts)
    assert text.isascii()
    assert read_context(read(b"\x12\x00", text).context_extensions) == facts
