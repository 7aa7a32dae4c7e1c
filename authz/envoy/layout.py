"""Writes Envoy's configuration as YAML for readers.

The sections come in the order in which a request meets them, each with a comment. What repeats is
written once and named (an anchor of YAML), and what fits on a line is on one line. The document
stays the same.
"""

import io
import re
from collections import Counter
from typing import Any

import yaml

from authz.envoy.sections import COMMENTS, FIRST, LAST, anchor_name

_WIDTH = 120
_FLOW_WIDTH = 110
"""The maximum width of a collection on one line, without its indentation."""
_FLOW_DEPTH = 4
"""The maximum nesting of a collection on one line."""
_MARK = re.compile(r"^( *(?:- )*)comment(\d+)mark", re.MULTILINE)
_BREAK = re.compile(r"(?<=\S) (?=\S)")
_FOLDABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?\n?")
_LINES = re.compile(r"[!-~]+(?:\n[!-~]+)+")
_BRANCH = re.compile(r"(?<= :) (?=\S)")
"""The pattern after which a line of an expression ends."""


def to_yaml(document: dict[str, Any]) -> str:
    """Return the document as YAML text."""
    arranged = _commented(_ordered(document), "", set())
    names: dict[int, str] = {}
    shared = _shared(arranged, "", "", {}, names)
    out = io.StringIO()
    dumper = _Dumper(out, width=10_000, sort_keys=False)
    dumper.open()
    root = dumper.represent_data(shared)
    nodes = dumper.represented_objects
    dumper.names = {id(nodes[key]): name for key, name in names.items()}
    _Layout(dumper.names).lay_out(root, 0, 0)
    dumper.serialize(root)
    dumper.close()
    return _MARK.sub(_comment, out.getvalue())


def _ordered(value: Any) -> Any:
    if isinstance(value, list):
        return [_ordered(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    first = [key for key in FIRST if key in value]
    last = [key for key in LAST if key in value]
    middle = [key for key in value if key not in {*first, *last}]
    return {key: _ordered(value[key]) for key in [*first, *middle, *last]}


def _commented(value: Any, place: str, written: set[int]) -> Any:
    """Return a copy with a mark before the first key or list item of each section.

    Args:
        value: a part of the document.
        place: its key.
        written: the numbers of the comments so far.
    """
    if isinstance(value, list):
        return [_commented(inner, place, written) for inner in value]
    if not isinstance(value, dict):
        return value
    marked = {}
    item = f"{place}/{value.get('name')}"
    for index, (key, inner) in enumerate(value.items()):
        mark = ""
        for number, pattern in enumerate(COMMENTS):
            here = re.fullmatch(pattern, key) or (index == 0 and re.fullmatch(pattern, item))
            if here and number not in written:
                written.add(number)
                mark = f"comment{number}mark"
                break
        marked[mark + key] = _commented(inner, key, written)
    return marked


def _comment(mark: re.Match[str]) -> str:
    before, number = mark[1], int(mark[2])
    indent = " " * (len(before) - 2 * before.count("-"))
    lines = list(COMMENTS.values())[number].splitlines()
    return "".join(f"{indent}# {line}\n" for line in lines) + before


def _shared(value: Any, key: str, owner: str, found: dict[str, Any], names: dict[int, str]) -> Any:
    """Return a copy in which equal parts are one object, which has a name.

    Args:
        value: a part of the document.
        key: its key.
        owner: the name of the nearest part around it that has one.
        found: the objects so far, by content.
        names: gets the name of each object, by its id.
    """
    if isinstance(value, list):
        copied: Any = [_shared(inner, key, owner, found, names) for inner in value]
    elif isinstance(value, dict):
        owner = str(value.get("name", owner))
        copied = {name: _shared(inner, name, owner, found, names) for name, inner in value.items()}
    else:
        return value
    name = anchor_name(key, owner, value)
    if name is None:
        return copied
    known = found.setdefault(str(value), copied)
    if known is copied:
        names[id(copied)] = name
    return known


class _Layout:
    """Chooses what is on one line, in the order in which nodes are written.

    Args:
        names: of the nodes that are written once, by id.
    """

    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self._written: set[int] = set()

    def lay_out(self, node: yaml.Node, indent: int, column: int) -> None:
        """Choose the style of a node and of those in it.

        Args:
            indent: the column of its lines if it takes several.
            column: where it begins if it is on one line.
        """
        if isinstance(node, yaml.ScalarNode) and _folds(node.value, _WIDTH - column):
            node.style = ">"
        elif isinstance(node, yaml.ScalarNode) and _LINES.fullmatch(node.value):
            node.style = "|"
        if not isinstance(node, yaml.CollectionNode) or id(node) in self._written:
            return
        width, depth = self._measure(node)
        fits = width <= max(_WIDTH - column, _FLOW_WIDTH) or _is_word(node)
        node.flow_style = fits and depth <= _FLOW_DEPTH
        if isinstance(node, yaml.MappingNode):
            for key, inner in node.value:
                self.lay_out(inner, indent + 2, indent + len(_MARK.sub("", key.value)) + 2)
        else:
            for inner in node.value:
                self.lay_out(inner, indent + 2, indent + 2)
        if id(node) in self._names:
            self._written.add(id(node))

    def _measure(self, node: yaml.Node) -> tuple[int, int]:
        """Return how wide a node is on one line, and how deep."""
        if isinstance(node, yaml.ScalarNode):
            return len(node.value) + (0 if node.value.replace("_", "").isalnum() else 2), 0
        if id(node) in self._written:
            return len(self._names[id(node)]) + 3, 0
        if isinstance(node, yaml.MappingNode):
            if any(_MARK.match(key.value) for key, _ in node.value):
                return 0, _FLOW_DEPTH + 1  # a comment needs a line
            inner = [self._measure(each) for _, each in node.value]
            width = sum(len(key.value) + 2 for key, _ in node.value)
        else:
            inner = [self._measure(each) for each in node.value]
            width = 0
        width += sum(each[0] + 2 for each in inner)
        return width, 1 + max((each[1] for each in inner), default=-1)


def _folds(text: str, width: int) -> bool:
    """Return whether a text is too wide for a line and reads the same on several."""
    is_plain = _FOLDABLE.fullmatch(text) is not None
    return is_plain and len(text) > width and _BREAK.search(text) is not None


def _is_word(node: yaml.Node) -> bool:
    """Return whether all that is in a node is one word, which no second line makes shorter."""
    while not isinstance(node, yaml.ScalarNode):
        if len(node.value) != 1:
            return False
        (inner,) = node.value
        node = inner[1] if isinstance(node, yaml.MappingNode) else inner
    return not _BREAK.search(node.value) and not _LINES.fullmatch(node.value)


class _Dumper(yaml.SafeDumper):
    """Writes nodes whose style is chosen already."""

    names: dict[int, str]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.used: Counter[str] = Counter()

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists below their key, as people write YAML."""
        super().increase_indent(flow, False)

    def generate_anchor(self, node: yaml.Node) -> str:
        """Return the name of a node that is written more than once."""
        name = self.names[id(node)]
        self.used[name] += 1
        return name if self.used[name] == 1 else f"{name}_{self.used[name]}"

    def write_folded(self, text: str) -> None:
        """Write a long text on several lines, an expression with one branch a line."""
        self.write_indicator(">" if text.endswith("\n") else ">-", True)
        pieces = _BRANCH.split(text.rstrip("\n"))
        width = _WIDTH - (self.indent or 0) if len(pieces) == 1 else _WIDTH
        for line in (line for piece in pieces for line in _wrapped(piece, width)):
            self.write_line_break()
            self.write_indent()
            self.stream.write(line)
            self.column += len(line)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in _BREAK.split(text):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > max(width, 60):
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
