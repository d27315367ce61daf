"""Whether a figure of a claim agrees with one of the evidence: value, unit and period.

A figure agrees with evidence that rounds to it: half of its last written digit is the whole tolerance (`1.2 million`
takes 1,150,000 to 1,250,000; `12` takes 11.5 to 12.5; `about 1,200` rounds at its last digit that is not zero).
Units have to agree where both sides name one; a bare figure in a table takes the claim's unit, but `12 parcels` agrees
with neither 12 % nor €12. A fraction such as 0.12 agrees with 12 %.
"""

import re
from collections.abc import Sequence
from decimal import Decimal

from registry.figures import CURRENCIES, Figure
from registry.periods import Period
from serving.words import STOP_WORDS

NEVER_COUNTED = CURRENCIES | {"%", "pp", "bp"}
"""Units of a figure that counts no things."""
_YEAR_DIGITS = 4
_YEAR = re.compile(r"\d{4}")
_NEXT_WORD = re.compile(r"\s+([^\W\d_]+)")
_HEDGE = re.compile(
    r"(?:about|around|approx\w*\.?|roughly|nearly|almost|some|ca\.|circa|~|≈|rund|etwa|knapp|environ|près de)\s*$",
    re.IGNORECASE,
)


def stands_in(figure: Figure, claim: str, evidence: Sequence[Figure], *, signless: bool = True) -> bool:
    """Whether one figure of the claim agrees with one of the evidence; `signless` lets -5 agree with 5."""
    if figure.period is not None:
        return _period_found(figure.period, evidence)
    tolerance = tolerance_of(figure, claim)
    counted = _counts_things(figure, claim)
    for known in evidence:
        if known.period is not None or (counted and known.unit in NEVER_COUNTED):
            continue
        if agree(figure, known, tolerance, signless=signless):
            return True
    year = figure.text  # as it is written: 2,026 is no year
    return _YEAR.fullmatch(year) is not None and any(
        known.period is not None and known.period.unit in {"date", "quarter"} and known.period.digits.startswith(year)
        for known in evidence
    )


def tolerance_of(figure: Figure, claim: str) -> Decimal:
    """Half of the last digit that is written; of the last that is not zero behind a word such as `about`."""
    step = figure.step
    if _HEDGE.search(claim, max(0, figure.start - 16), figure.start) and figure.value:
        while figure.value % (step * 10) == 0:
            step *= 10
    return step / 2


def _counts_things(figure: Figure, claim: str) -> bool:
    """Whether a bare figure stands before the word for what it counts, as in `12 parcels`."""
    if figure.unit:
        return False
    word = _NEXT_WORD.match(claim, figure.start + len(figure.text))
    return word is not None and word[1].lower() not in STOP_WORDS


def agree(figure: Figure, known: Figure, tolerance: Decimal, *, signless: bool) -> bool:
    """Whether a figure and a known one are the same within a tolerance, in one of their readings, in like units."""
    units = {figure.unit, known.unit} - {""}
    if len(units) > 1 and units != {"%", "pp"}:
        return False
    for value in figure.readings:
        # The last digit of the other reading is worth as much more or less as that reading itself.
        reach = tolerance * abs(value / figure.value) if figure.value else tolerance
        for other in known.readings:
            if abs(value - other) <= reach or (signless and abs(abs(value) - abs(other)) <= reach):
                return True
            if figure.unit == "%" and not known.unit and abs(other) <= 1 and abs(value - other * 100) <= reach:
                return True
    return False


def _period_found(period: Period, evidence: Sequence[Figure]) -> bool:
    known = [figure.period for figure in evidence if figure.period is not None]
    if any(period.covers(other) for other in known):
        return True
    year, rest = period.digits[:_YEAR_DIGITS], period.digits[_YEAR_DIGITS:]
    if period.unit not in {"date", "quarter"} or not rest:
        years = (str(figure.value) for figure in evidence if figure.period is None)
        return period.unit == "date" and not rest and year in years
    # `14 March` in the text and 2026 in its title make 14 March 2026.
    has_year = any(other.digits.startswith(year) for other in known if len(other.digits) >= _YEAR_DIGITS)
    has_year = has_year or any(str(figure.value) == year for figure in evidence if figure.period is None)
    parts = {(other.unit, other.digits) for other in known}
    return has_year and (("quarter", rest) in parts or ("day", rest.lstrip("0")) in parts or ("day", rest) in parts)
