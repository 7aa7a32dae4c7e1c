"""Writes the pages of ``docs/clients``."""

from pathlib import Path

from authz.clients.catalog import DENIED, GREEN, MODES, Client, clients
from authz.clients.rendering import HEADINGS, NEEDS, fill, urls
from authz.config.settings import Config

_MADE = "<!-- `authz client --docs docs/clients` writes this page from authz/clients/data. -->\n"
_SHORT = {
    "centralized": "company's key",
    "byok": "own key",
    "subscription": "own subscription",
    "proxy": "proxy",
    "proxy-byok": "proxy, own key",
    "proxy-subscription": "proxy, own subscription",
    DENIED: "deleted token",
}


def pages() -> dict[str, str]:
    """Return the text of each page by file name: one for each client, and the table."""
    known = clients()
    made = {f"{client.name}.md": page(client) for client in known.values()}
    return {"README.md": table(list(known.values())), **made}


def write_pages(folder: Path) -> None:
    """Write the pages to a folder; existing pages are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


def page(client: Client) -> str:
    """Return the page of one client, for a gateway with the defaults."""
    known = urls(Config())
    parts = [
        f"# {client.title}\n",
        _MADE,
        f"Install it with `{client.install}`. `$CODER_TOKEN` is your Coder token. "
        f"`authz client {client.name}` prints these lines for your gateway.\n",
    ]
    for mode in MODES:
        if mode in client.lines:
            parts.append(f"## {HEADINGS[mode]}\n")
            if mode in NEEDS:
                parts.append(f"{NEEDS[mode]}\n")
            parts += [
                f"```sh\n{fill(lines, known).rstrip()}\n```\n"
                for lines in client.lines[mode].values()
            ]
        elif mode in client.tested.reasons:
            parts.append(f"## {HEADINGS[mode]}\n")
            parts.append(f"Not possible: {client.tested.reasons[mode]}.\n")
    if client.notes:
        parts.append("## Good to know\n")
        parts.append("\n".join(f"- {note}" for note in client.notes) + "\n")
    parts.append(f"{_run_of(client)}\n")
    return "\n".join(parts)


def _run_of(client: Client) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in client.tested.packages.items())
    if not client.tested.date:
        return f"Not tested yet with {versions}."
    return f"Tested by `make test-clients` with {versions} on {client.tested.date}."


def table(known: list[Client]) -> str:
    """Return the page with the table of clients and modes."""
    modes = (*MODES, DENIED)
    heads = " | ".join(_SHORT[mode] for mode in modes)
    rows = [
        f"| [{client.title}]({client.name}.md) | {client.version} | "
        f"{client.tested.date or 'not yet'} | "
        + " | ".join(_cell(client, mode) for mode in modes)
        + " |"
        for client in known
    ]
    return "\n".join(
        [
            "# Clients\n",
            _MADE,
            "`make test-clients` installs each client and runs the lines of its page, headless, "
            "through a real gateway\nagainst a fake provider. Green means that the response "
            "streamed (and the client printed it piece by piece, if it\ncan), and that the "
            "provider received exactly one valid credential and nothing of Coder's with every "
            "request.\n"
            "For a deleted token, green means that the client printed the gateway's 401 within 30 "
            "seconds, and that\nno request reached the provider.\n",
            f"| client | version | tested on | {heads} |",
            f"| {' | '.join(['---'] * (len(modes) + 3))} |",
            *rows,
            "",
            "A client that supports Anthropic and OpenAI was tested with both, unless the cell "
            "names one.",
            "",
        ]
    )


def summary(known: list[Client]) -> str:
    """Return the table without reasons, for README.md."""
    modes = (*MODES, DENIED)
    rows = [
        f"| [{client.title}](docs/clients/{client.name}.md) {client.version} | "
        + " | ".join(_result(client, mode) for mode in modes)
        + " |"
        for client in known
    ]
    return "\n".join(
        [
            f"| client | {' | '.join(_SHORT[mode] for mode in modes)} |",
            f"| {' | '.join(['---'] * (len(modes) + 1))} |",
            *rows,
        ]
    )


def _result(client: Client, mode: str) -> str:
    results = client.tested.results.get(mode, {})
    kinds = client.lines.get("centralized" if mode == DENIED else mode, {})
    if not kinds:
        return "-"
    said = {results.get(kind, "not run") for kind in kinds}
    return said.pop() if len(said) == 1 else "not all green"


def _cell(client: Client, mode: str) -> str:
    results = client.tested.results.get(mode, {})
    kinds = client.lines.get("centralized" if mode == DENIED else mode, {})
    said = {kind: results.get(kind, "not run") for kind in kinds}
    reason = client.tested.reasons.get(mode)
    if len(set(said.values())) == 1 and not reason:
        only = next(iter(said.values()))
        one_of_two = kinds.keys() != client.lines["centralized"].keys()
        return f"{only} ({next(iter(kinds))})" if one_of_two and only == GREEN else only
    parts = [f"{kind}: {result}" for kind, result in said.items()]
    return "; ".join([*parts, *([reason] if reason else [])]).replace("|", "\\|") or "no lines"
