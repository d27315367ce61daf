"""Figures out of a text: numbers with their units, dates and times, in English, German and French writing."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure as it stands in a text."""

    value: Decimal
    """The number, scale words applied: `1.2 million` is 1200000. Dates are digits: 20260314, 202603; quarters 20263."""
    unit: str
    """`%`, `pp`, a currency code, a unit of time or measure, `date`, `quarter`, `time`, or empty."""
    text: str
    """The words it was read from, verbatim."""
    step: Decimal = Decimal(1)
    """The worth of the last digit that is written: 100000 for `1.2 million`, 0.01 for `3.14`."""
    other: Decimal | None = None
    """What `1,234` or `1.234` means to a reader from the other side of the comma; None when it is plain."""


def figures(text: str) -> tuple[Figure, ...]:
    """All figures of the text, in order."""
    return ()
