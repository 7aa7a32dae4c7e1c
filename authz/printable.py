"""Cleaning of text that providers, clients and identity sources choose, for logs and screens."""

REPLACEMENT = "\ufffd"
MAX_LENGTH = 500
"""Longer texts are cut: a name of this length is already no name."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str, length: int = MAX_LENGTH) -> str:
    """Return the text in one line, without control characters, and bounded.

    Each character that a terminal would act on or not show is replaced: escape sequences, line
    separators, marks that change the direction of writing, and halves of surrogate pairs.

    Args:
        length: the number of characters to keep.
    """
    text = text[:length]
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else REPLACEMENT for letter in text)


def csv_cell(text: str) -> str:
    """Return the text as a CSV cell that a spreadsheet shows and does not compute.

    An apostrophe in front marks it as text, where it would begin a formula.
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
