"""A headless browser for tests, which follows forms and links as a person would."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

_VOID = frozenset({"meta", "link", "input", "br", "rect", "line"})


@dataclass
class Element:
    """A start tag, and the text up to its end."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


class Parsed(HTMLParser):
    """A page's elements, in order.

    Attributes:
        unclosed: tags without an end, or closed in the wrong place.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.unclosed: list[str] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        self.unclosed += [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        # HTML lets an option go without its end.
        while self._open and self._open[-1].tag == "option" and tag != "option":
            self._open.pop()
        if not self._open or self._open[-1].tag != tag:
            self.unclosed.append(tag)
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements of a tag that have these attributes."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.elements
            if element.tag == tag
            and all(element.attributes.get(name) == value for name, value in wanted.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        """Return the only such element; AssertionError when there are more or none."""
        found = self.all(tag, **attributes)
        assert len(found) == 1, (tag, attributes, len(found))
        return found[0]

    @property
    def csrf(self) -> str:
        """The CSRF token of the page's forms."""
        return self.all("input", name="csrf")[0].attributes["value"]


@dataclass
class Browser:
    """A browser's cookies and current page.

    Attributes:
        client: whose base URL is the gateway's.
        origin: what it says of where a form comes from.
    """

    client: httpx.AsyncClient
    origin: str
    last: httpx.Response = field(init=False)

    async def get(self, path: str) -> Parsed:
        """Open a page, through redirects."""
        self.last = await self.client.get(path, follow_redirects=True)
        return Parsed(self.last.text)

    async def post(self, path: str, csrf: str | None = None, **fields: str | list[str]) -> Parsed:
        """Send a form.

        Args:
            path: where to.
            csrf: None takes that of the page at the same path, else of the sign-in or tokens page.
            fields: of the form.
        """
        if csrf is None:
            csrf = (await self.get(path)).csrf
        self.last = await self.client.post(
            path,
            data={"csrf": csrf, **fields},
            # httpx sends the headers to the redirect's target too, as a browser does the Referer.
            headers={
                "origin": self.origin,
                "sec-fetch-site": "same-origin",
                "referer": f"{self.origin}{path}",
            },
            follow_redirects=True,
        )
        return Parsed(self.last.text)

    async def sign_in(self, name: str, password: str) -> Parsed:
        """Sign in."""
        return await self.post("/ui/sign-in", name=name, password=password)
