"""The type of secrets, and the rule that masks them."""

import hmac


def mask(value: str) -> str:
    """Return a hint of a secret that people can recognise but not use.

    Args:
        value: the secret; characters are counted, not bytes.

    Returns:
        ``prefix...suffix`` with 4+4 characters of 20 or more, 2+2 of 10 or more, 1+1 of 5 or
        more, else ``...``. The empty string stays empty.
    """
    if not value:
        return ""
    shown = 4 if len(value) >= 20 else 2 if len(value) >= 10 else 1 if len(value) >= 5 else 0
    return f"{value[:shown]}...{value[-shown:]}" if shown else "..."


class Secret:
    """A credential whose ``repr``, ``str`` and formatting show only the masked form."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself; call it only where the secret is sent to its destination."""
        return self._value

    @property
    def hint(self) -> str:
        """The masked form, for logs."""
        return mask(self._value)

    def __repr__(self) -> str:
        return f"Secret({self.hint})"

    def __str__(self) -> str:
        return self.hint

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # surrogatepass, because bytes of a header that are not UTF-8 come as surrogates.
        mine, theirs = (one._value.encode("utf-8", "surrogatepass") for one in (self, other))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret can't be pickled")
