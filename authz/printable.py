"""Cleaning of text from providers, clients and identity sources, for logs and screens."""

REPLACEMENT = "\ufffd"
MAX_LENGTH = 500
"""The maximum length of a text; no real name is as long."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str, length: int = MAX_LENGTH) -> str:
    """Return the text in one line, without control characters, and with a maximum length.

    Characters that a terminal would interpret or not show are replaced: escape sequences, line
    separators, marks that change the direction of writing, and halves of surrogate pairs.

    Args:
        length: the number of characters to keep.
    """
    text = text[:length]
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else REPLACEMENT for letter in text)


def csv_cell(text: str) -> str:
    """Return the text as a CSV cell that a spreadsheet does not execute as a formula.

    A leading apostrophe marks a formula as text.
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
