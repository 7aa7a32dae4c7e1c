"""Wrong tokens, made from good ones."""


def altered(token: str) -> str:
    """Return the token with another last character, so that it is well formed and unknown.

    The character depends on the token's own: a fixed one would return a good token one time in 62.
    """
    return f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}"
