"""Measure the cost of prices: loading the book, and computing a cost.

Run ``python -m bench.prices``.
"""

import sys
import time
from pathlib import Path


def _resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def main() -> None:
    """Print time and memory."""
    # What a process of authz has loaded in any case.
    import authz.serve.service  # noqa: F401
    from authz.config.prices import Prices
    from authz.config.settings import DEFAULT_PROVIDERS
    from authz.usage.charges import priced
    from authz.usage.entry import Tokens, Usage, UsageEntry

    before, began = _resident_kib(), time.process_time()
    from authz.prices.book import PriceBook

    book = PriceBook(Prices(), DEFAULT_PROVIDERS)
    loading = time.process_time() - began
    loaded = _resident_kib() - before
    model, at_ms = "claude-sonnet-4-5-20250929", time.time_ns() // 1_000_000
    tokens = Tokens(input=1000, cached=500, output=100)
    entry = UsageEntry(
        id="0-0",
        time_ms=at_ms,
        decision="allow",
        status=200,
        usage=Usage.COMPLETE,
        duration_ms=1,
        provider="anthropic",
        mode="centralized",
        model=model,
        tokens=tokens,
    )
    began = time.process_time()
    book.cost("anthropic", model, tokens, at_ms)
    first = time.process_time() - began
    count = 100_000
    began = time.process_time()
    for _ in range(count):
        priced(entry, book.cost)
    each = (time.process_time() - began) / count
    sys.stdout.write(
        f"load the book: {loading * 1e3:.0f} ms, {loaded / 1024:.1f} MiB\n"
        f"first cost of a model: {first * 1e6:.0f} us\n"
        f"price a request: {each * 1e6:.2f} us\n"
    )


if __name__ == "__main__":
    main()
