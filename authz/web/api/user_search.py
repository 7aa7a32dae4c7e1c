"""Read the search text for users in the format of Coder's clients: ``status:active ada``."""

from dataclasses import dataclass

from authz.identity.accounts import User

_KEYS = ("status", "role")


@dataclass(frozen=True, slots=True)
class UserSearch:
    """Conditions that a user has to meet. An empty condition matches every user.

    Attributes:
        words: each has to occur in the user's name, full name or e-mail address, in any case.
        status: the user's status.
        role: one of the user's roles.
    """

    words: tuple[str, ...] = ()
    status: str = ""
    role: str = ""

    def matches(self, user: User) -> bool:
        """Return whether a user meets all conditions."""
        text = f"{user.username}\n{user.name}\n{user.email}".casefold()
        return (
            self.status in ("", user.status)
            and (not self.role or self.role in (user.roles or ("member",)))
            and all(word in text for word in self.words)
        )


def read_search(text: str) -> UserSearch:
    """Read a search text.

    Raises:
        ValueError: a condition is unknown or occurs twice. The message contains nothing of the
            search text.
    """
    words: list[str] = []
    values: dict[str, str] = {}
    for term in text.casefold().split():
        key, colon, value = term.partition(":")
        if not colon:
            words.append(term)
        elif key not in _KEYS or not value:
            raise ValueError(f"use words, {' and '.join(f'{known}:…' for known in _KEYS)} only")
        elif key in values:
            raise ValueError(f"give {key} once")
        else:
            values[key] = value
    return UserSearch(tuple(words), values.get("status", ""), values.get("role", ""))
