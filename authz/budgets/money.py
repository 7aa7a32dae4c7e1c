"""Amounts of money, as whole nano-dollars."""

from decimal import Decimal, InvalidOperation

NANO = 1_000_000_000
"""The nano-dollars of a dollar."""
MAXIMUM = 1_000_000_000 * NANO
"""The largest amount of a budget; the sum of several fits into 64 bits."""


def parse_dollars(text: str) -> int:
    """Read an amount in dollars, such as ``12.50`` or ``$12.50``.

    Raises:
        ValueError: the text is no amount, or the amount is too small, too large or too fine.
    """
    try:
        amount = Decimal(text.strip().removeprefix("$")) if text.isascii() else Decimal("nan")
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite():
        raise ValueError("an amount is a number of dollars, such as 12.50")
    if not 0 < amount <= MAXIMUM // NANO:
        raise ValueError("an amount must be greater than 0 and at most 1000000000 dollars")
    nano = amount * NANO
    if nano != int(nano):
        raise ValueError("an amount has at most 9 decimals")
    return int(nano)


def dollars(nano: int) -> str:
    """Return an amount for a person, with 2 decimals, or as many as it needs."""
    whole, part = divmod(abs(nano), NANO)
    decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}${whole}.{decimals}"


def about(nano: int) -> str:
    """Return an amount for a table, to the cent, or with 4 decimals below a dollar."""
    if 0 < nano < NANO // 10_000:
        return "<$0.0001"
    return f"${Decimal(nano) / NANO:,.{4 if 0 < nano < NANO else 2}f}"


def decimal_dollars(nano: int) -> Decimal:
    """Return the exact amount in dollars, for programs."""
    return Decimal(nano).scaleb(-9)
