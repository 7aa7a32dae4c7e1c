"""The pages of docs/, README.md and their neighbours: links, navigation and line lengths."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_SITE = sorted(_DOCS.rglob("*.md"))
_PAGES = [*_SITE, _ROOT / "README.md", _ROOT / "CONTRIBUTING.md", _ROOT / "bench" / "README.md"]
_GENERATED = {_DOCS / "cli.md", _DOCS / "configuration-reference.md", *_DOCS.glob("clients/*.md")}
_LONGEST = 300
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]+)\)")


def _name(page: Path) -> str:
    return page.relative_to(_ROOT).as_posix()


def _prose(page: Path) -> str:
    """Return the page without its code blocks and code spans."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    return {_slug(heading) for heading in headings}


def _slug(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _links(page: Path) -> Iterator[tuple[str, Path, str]]:
    for link in _LINK.findall(_prose(page)):
        path, _, anchor = link.partition("#")
        yield link, (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file that exists, and a heading that is on that page."""
    for link, target, anchor in _links(page):
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", _SITE, ids=_name)
def test_a_page_of_the_site_links_within_it(page: Path) -> None:
    """A page of the site links only to docs/, because the site has only that folder."""
    outside = [link for link, target, _ in _links(page) if _DOCS not in target.parents]
    assert outside == []


def test_the_navigation_has_every_page() -> None:
    """Each page of docs/ is in the navigation of the site, once."""
    settings = tomllib.loads((_ROOT / "zensical.toml").read_text())
    listed = [
        page
        for part in settings["project"]["nav"]
        for (pages,) in [part.values()]
        for page in pages
    ]
    assert sorted(listed) == sorted(page.relative_to(_DOCS).as_posix() for page in _SITE)


@pytest.mark.parametrize("page", [page for page in _PAGES if page not in _GENERATED], ids=_name)
def test_lines_are_short(page: Path) -> None:
    """No line outside of a table or a code block has more than 300 characters."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > _LONGEST] == []


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_sources_are_in_the_repository(page: Path) -> None:
    """No page cites notes that readers do not have."""
    notes = re.compile(r"coder-contract|interface\.md|envoy-facts|house\.md|\.\./shared")
    assert notes.findall(page.read_text()) == []
