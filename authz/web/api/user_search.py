"""The search text of the list of users, as Coder's clients write it: ``status:active ada``."""

from dataclasses import dataclass

from authz.identity.accounts import User

_KEYS = ("status", "role")


@dataclass(frozen=True, slots=True)
class UserSearch:
    """What a user has to be to be listed; an empty value asks for nothing.

    Attributes:
        words: each is part of the user's name, full name or e-mail address, whatever its case.
        status: as of a user.
        role: a role of the user.
    """

    words: tuple[str, ...] = ()
    status: str = ""
    role: str = ""

    def matches(self, user: User) -> bool:
        """Say whether a user is one of those."""
        text = f"{user.username}\n{user.name}\n{user.email}".casefold()
        return (
            self.status in ("", user.status)
            and (not self.role or self.role in (user.roles or ("member",)))
            and all(word in text for word in self.words)
        )


def read_search(text: str) -> UserSearch:
    """Read a search text.

    Raises:
        ValueError: it asks for something that is not known here, or twice for the same; the text
            quotes nothing of it.
    """
    words: list[str] = []
    values: dict[str, str] = {}
    for term in text.casefold().split():
        key, colon, value = term.partition(":")
        if not colon:
            words.append(term)
        elif key not in _KEYS or not value:
            raise ValueError(f"a search has words, and {':… '.join(_KEYS)}:…")
        elif key in values:
            raise ValueError(f"{key} is given twice")
        else:
            values[key] = value
    return UserSearch(tuple(words), values.get("status", ""), values.get("role", ""))
