"""Writes the pages of ``docs/clients``."""

from pathlib import Path

from authz.clients.catalog import DENIED, GREEN, MODES, Client, clients
from authz.clients.rendering import HEADINGS, NEEDS, fill, urls
from authz.config.settings import Config

_MADE = "<!-- made by `authz client --docs docs/clients`; change authz/clients/data -->\n"
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
    """Return file name to text, for every client and the table of all of them."""
    known = clients()
    made = {f"{client.name}.md": page(client) for client in known.values()}
    return {"README.md": table(list(known.values())), **made}


def write_pages(folder: Path) -> None:
    """Write the pages into a folder, over those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)


def page(client: Client) -> str:
    """Write the page of one client, for a gateway with the defaults."""
    known = urls(Config())
    parts = [
        f"# {client.title}\n",
        _MADE,
        f"`{client.install}`. `$CODER_TOKEN` is your Coder token; `authz client {client.name}` "
        "prints these lines for your gateway.\n",
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
        return f"Not run yet with {versions}."
    return f"Run by `make test-clients` with {versions} on {client.tested.date}."


def table(known: list[Client]) -> str:
    """Write the table of clients and modes."""
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
            "through a real pair to the\nstand-in provider. Green: the answer's text came back, "
            "as a stream (and piece by piece where the client\nprints it so), and every request at "
            "the provider had exactly one right credential and nothing of Coder's.\nFor a deleted "
            "token: the client printed the gateway's 401 within 30 seconds, and nothing reached "
            "the provider.\n",
            f"| client | version | run on | {heads} |",
            f"| {' | '.join(['---'] * (len(modes) + 3))} |",
            *rows,
            "",
            "A client that talks to Anthropic and OpenAI was run with both, unless one is named.",
            "",
        ]
    )


def summary(known: list[Client]) -> str:
    """Write the table without reasons, as README.md has it."""
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
