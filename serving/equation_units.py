"""Units of what an equation calculates: those that a sum, a product or a quotient can have.

A term has a set of them, since evidence may hold the same number in two units. `UNKNOWN` stands for a number whose unit
nobody names, as in a table. Units of one dimension are not converted unless the equation does it (`9 h x 60`).
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

from registry.figures import CURRENCIES
from serving.figure_agreement import NEVER_COUNTED

Units = frozenset[str]
UNKNOWN = ""
RATIO = "ratio"
"""Two of one unit, divided."""
PERCENT = "%"
"""A percentage, or a difference of two, in points."""
POINTS = frozenset({"%", "pp"})
"""How percentages are written."""
BARE_PERCENT = "bare %"
"""A percentage that is written without its sign: `12` for 12 %."""
_PERCENT_OF = "% of "
"""A product with such a one, not yet divided by 100."""
NOUN = "#"
"""What things are counted: `#driver`."""
_SCALES = (
    {"ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)},
    {"g": Fraction(1), "kg": Fraction(1000), "t": Fraction(1_000_000)},
    {"mm": Fraction(1), "cm": Fraction(10), "km": Fraction(1_000_000)},
    {"kWh": Fraction(1), "MWh": Fraction(1000)},
    {"month": Fraction(1), "year": Fraction(12)},
)


def summed(left: Units, right: Units) -> Units:
    """Units of a sum or a difference; empty if they cannot be added."""
    return _each(left, right, _summed)


def multiplied(left: Units, right: Units) -> Units:
    """Units of a product; empty if it has no meaning."""
    return _each(left, right, _multiplied)


def divided(left: Units, right: Units) -> Units:
    """Units of a quotient; empty if it has no meaning."""
    return _each(left, right, _divided)


def hundredth(units: Units) -> Units:
    """Units of a hundredth of percentages written without their sign, or of a product with one."""
    found = {unit.removeprefix(_PERCENT_OF) for unit in units if unit.startswith(_PERCENT_OF)}
    return frozenset(found | ({RATIO} if BARE_PERCENT in units else set()))


def converted(units: Units, factor: Fraction) -> Units:
    """The units of which so many make one of these: `{min}` for `{h}` and 60, `{kg}` for `{g}` and 1/1000."""
    return frozenset(
        other
        for scales in _SCALES
        for unit in units & scales.keys()
        for other, worth in scales.items()
        if other != unit and scales[unit] / worth == factor
    )


def permits(units: Units, unit: str) -> bool | None:
    """Whether a result that can have these units may be written in this one; None if that cannot be told."""
    if not unit:
        return not all(own.startswith(_PERCENT_OF) for own in units)
    if unit in units or (unit in {"%", "x"} and RATIO in units) or (unit == "pp" and PERCENT in units):
        return True
    if unit.startswith(NOUN) and UNKNOWN in units:
        return True
    unclear = UNKNOWN in units or (RATIO in units and unit not in NEVER_COUNTED)
    return None if unclear or (unit.startswith(NOUN) and any(own.startswith(NOUN) for own in units)) else False


def _each(left: Units, right: Units, combined: Callable[[str, str], Iterator[str]]) -> Units:
    return frozenset(unit for one in left for two in right for unit in combined(one, two))


def _summed(one: str, two: str) -> Iterator[str]:
    if one.startswith(_PERCENT_OF) or two.startswith(_PERCENT_OF):
        return
    if one == two:
        yield one
    elif {one, two} == {RATIO, PERCENT}:
        yield RATIO
    elif UNKNOWN in {one, two} and PERCENT not in {one, two}:
        named = one or two
        yield UNKNOWN if named == RATIO else named


def _multiplied(one: str, two: str) -> Iterator[str]:
    for first, second in ((one, two), (two, one)):
        if first.startswith(_PERCENT_OF):
            return
        if first == BARE_PERCENT:
            if second not in {RATIO, PERCENT, BARE_PERCENT}:
                yield f"{_PERCENT_OF}{second}"
            return
    shares = {one, two} & {RATIO, PERCENT}
    if shares:
        named = {one, two} - {RATIO, PERCENT}
        yield named.pop() if named else PERCENT if PERCENT in shares else RATIO
    elif UNKNOWN in {one, two}:
        yield from {one or two, UNKNOWN}
    elif one != two:
        money = [unit for unit in (one, two) if unit in CURRENCIES]
        yield money[0] if len(money) == 1 else UNKNOWN


def _divided(one: str, two: str) -> Iterator[str]:
    if one.startswith(_PERCENT_OF) or two.startswith(_PERCENT_OF):
        return
    if one == two or (UNKNOWN in {one, two} and not {one, two} & {RATIO, PERCENT, BARE_PERCENT}):
        yield RATIO
        if UNKNOWN in {one, two}:
            yield from {one, UNKNOWN}
    elif two in {RATIO, PERCENT}:
        if one != BARE_PERCENT:
            yield RATIO if one == PERCENT else one
    elif two == UNKNOWN:
        yield one
    elif BARE_PERCENT not in {one, two}:
        yield UNKNOWN if one in {RATIO, PERCENT} else one
