"""authz.usage.token_text."""

from hypothesis import given
from hypothesis import strategies as st

from authz.usage.entry import NO_TOKENS, Tokens
from authz.usage.token_text import NOTHING, read_any_form, read_tokens

WHOLE = (
    'llm_protocol: ANTHROPIC_MESSAGES model: "claude-x" input_tokens { value: 35 } '
    "output_tokens { value: 42 } total_tokens { value: 77 } "
    "input_token_details { cached_tokens: 7 cache_creation_tokens: 3 } "
    "output_token_details { reasoning_tokens: 5 } extraction_status: COMPLETE "
)


def test_a_whole_text() -> None:
    """Every field of Envoy's message is read."""
    assert read_tokens(WHOLE) == ("claude-x", Tokens(35, 7, 3, 42, 5), 1)


def test_another_form_of_the_same() -> None:
    """A mark in front, line ends, other spaces and another order change nothing."""
    other = (
        "goo.gle/debugonly  extraction_status:COMPLETE\noutput_token_details:{reasoning_tokens:5}"
        "\ninput_token_details{cache_creation_tokens:3,cached_tokens:7};output_tokens{\n  value: 42"
        '\n}\n\tinput_tokens { value: 35 }\nmodel:"claude-x"'
    )
    assert read_tokens(other) == read_tokens(WHOLE)


def test_no_text() -> None:
    """A text that Envoy did not write, since it read nothing, gives no tokens and no failure."""
    assert read_tokens("-") == read_tokens("") == NOTHING


def test_counts_that_are_not_there() -> None:
    """A count that the provider did not send is unknown; a detail that it did not send is zero."""
    assert read_tokens('model: "m" extraction_status: PARTIAL') == (
        "m",
        Tokens(None, 0, 0, None, 0),
        2,
    )


def test_counts_that_no_answer_can_have() -> None:
    """A count that no answer can have is unknown, since sums of such counts would fail."""
    text = "input_tokens { value: 1000000000001 } output_tokens { value: -3 } extraction_status: 1"
    assert read_tokens(text) == (None, Tokens(None, 0, 0, None, 0), 1)


def test_a_text_that_ends_early() -> None:
    """A text cut off by a long name is a failed extraction, not an answer without tokens."""
    found = read_tokens('llm_protocol: OPENAI model: "' + "x" * 4000)
    assert (found.model, found.status, found.tokens.input) == (None, 3, None)


def test_a_name_that_says_other_counts() -> None:
    """A provider's name for its model can't change a count."""
    name = r"m\" input_tokens { value: 999999 } extraction_status: FAILED \\"
    found = read_tokens(WHOLE.replace("claude-x", name))
    assert found.model == r'm" input_tokens { value: 999999 } extraction_status: FAILED ' + "\\"
    assert (found.tokens, found.status) == (read_tokens(WHOLE).tokens, 1)


def test_a_name_in_other_letters() -> None:
    """Bytes beyond ASCII are escaped in Envoy's text, and are read as UTF-8."""
    assert read_tokens(WHOLE.replace("claude-x", r"caf\303\251\n\x41")).model == "café\nA"


_COUNTS = st.integers(0, 10**12 - 1)


@given(_COUNTS, _COUNTS, st.none() | _COUNTS, st.none() | _COUNTS, st.sampled_from(["x", "é y"]))
def test_the_usual_form_means_the_same(
    read: int, wrote: int, cached: int | None, reasoning: int | None, name: str
) -> None:
    """The form of the pinned Envoy is read in one step, with the result of all steps."""
    details = "" if cached is None else f"input_token_details {{ cached_tokens: {cached} }} "
    thought = (
        "" if reasoning is None else f"output_token_details {{ reasoning_tokens: {reasoning} }} "
    )
    text = (
        f'llm_protocol: OPENAI model: "{name}" input_tokens {{ value: {read} }} output_tokens '
        f"{{ value: {wrote} }} {details}{thought}extraction_status: PARTIAL "
    )
    expected = (name, Tokens(read, cached or 0, 0, wrote, reasoning or 0), 2)
    assert read_tokens(text) == read_any_form(text) == expected


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text gives a result; counts are numbers or unknown."""
    found = read_tokens(text)
    assert (found == NOTHING) == (text in ("", "-"))
    assert found.tokens == NO_TOKENS or (found.tokens.input or 0) >= 0


@given(st.text(max_size=40))
def test_any_name_comes_back(name: str) -> None:
    """A name is read as it was, however protobuf escapes it."""
    encoded = name.encode("utf-8", "replace")
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}"
        for byte in encoded
    )
    assert read_tokens(f'model: "{escaped}" {WHOLE.partition("claude-x")[2][2:]}') == (
        encoded.decode(),
        read_tokens(WHOLE).tokens,
        1,
    )
