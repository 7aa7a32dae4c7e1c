"""authz.envoy.layout: YAML for readers that says the same as the document."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz.envoy.layout import to_yaml

_words = st.text("ab :?#'\"-{}[],&*|>%", max_size=30)
_sentences = st.lists(_words, max_size=12).map(" ".join)
_keys = st.sampled_from(["name", "listeners", "http_filters", "regex_rewrite", "route", "/a"])
_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | _sentences
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(_keys, _values, max_size=5))
def test_any_document_is_read_as_it_was(document: dict[str, Any]) -> None:
    """Comments, order, names and lines change nothing of any document."""
    assert yaml.safe_load(to_yaml(document)) == document


def test_what_repeats_is_written_once() -> None:
    """An equal part has a name where it is first, and the name stands for it after that."""
    part = {"pattern": {"regex": "x" * 200}, "substitution": "y"}
    text = to_yaml({"routes": [{"name": "one a", "regex_rewrite": part} for _ in range(2)]})
    assert text.count("x" * 200) == 1
    assert "regex_rewrite: &one_path" in text
    assert "regex_rewrite: *one_path" in text


def test_a_comment_is_before_its_section() -> None:
    """A comment appears once, on lines of its own, with the indentation of its section."""
    lines = to_yaml({"static_resources": {"clusters": [{"name": "a"}]}, "x": {"clusters": []}})
    assert lines.splitlines() == [
        "static_resources:",
        "  # 7. The clusters: authz first, then the providers.",
        "  clusters: [{name: a}]",
        "x: {clusters: []}",
    ]
