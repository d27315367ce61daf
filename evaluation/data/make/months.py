"""The 24 months that the sample companies report on, and how a month is written."""

from typing import NamedTuple

MONTHS = tuple(f"{year}-{month:02d}" for year in (2024, 2025, 2026) for month in range(1, 13))[10:34]
"""2024-11 to 2026-10."""

NAMES = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


class Bend(NamedTuple):
    """A factor on one series over some months: a launch, an outage, a price change."""

    first: str
    last: str
    factor: float


def factor(month: str, bends: tuple[Bend, ...]) -> float:
    """Return the product of all bends that cover the month; months compare as text."""
    product = 1.0
    for bend in bends:
        if bend.first <= month <= bend.last:
            product *= bend.factor
    return product


def long_name(month: str) -> str:
    """Return `March 2025` for `2025-03`."""
    return f"{NAMES[int(month[5:]) - 1]} {month[:4]}"


def short_name(month: str) -> str:
    """Return `Mar 2025` for `2025-03`."""
    return f"{NAMES[int(month[5:]) - 1][:3]} {month[:4]}"
