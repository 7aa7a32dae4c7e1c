"""The pattern of upgrades that are ignored."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from authz.envoy.http1 import all_but

_TEXT = st.text(alphabet=st.characters(max_codepoint=0x7E))


@given(_TEXT | st.text(alphabet="websocktWEBSOCKT", max_size=12))
@example("websocket")
@example("WebSocket")
@example("websockets")
@example("")
def test_all_but(text: str) -> None:
    """The pattern matches every text except the word itself, in upper or lower case."""
    matches = re.fullmatch(all_but("websocket"), text) is not None
    assert matches == (text.lower() != "websocket")
