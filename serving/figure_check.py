"""Checks the figures of a claim: each comes from the evidence, or from arithmetic that the claim states.

A figure agrees with evidence that rounds to it: half of its last written digit is the whole tolerance (`1.2 million`
takes 1,150,000 to 1,250,000; `12` takes 11.5 to 12.5; `about 1,200` rounds at its last digit that is not zero).
Units have to agree where both sides name one; a bare figure in a table takes the claim's unit, but `12 parcels` agrees
with neither 12 % nor €12. `fell by 5 %` agrees with -5 %. A fraction such as 0.12 agrees with 12 %.

Arithmetic counts when the claim names the operation and both operands, and the operands themselves agree with the
evidence: sum, mean, difference, percent change, share and multiple. `rose from 40 to 50, by 25 %` is checked;
`rose by 25 %` alone has to stand in the evidence.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import permutations

from registry.figures import CURRENCIES, Figure, figures
from registry.periods import Period
from serving.words import STOP_WORDS

OPERANDS_MAX = 12
"""Figures of one claim that arithmetic may use; more make a table, not a claim."""
_YEAR_DIGITS = 4
_YEAR = re.compile(r"\d{4}")
_NEXT_WORD = re.compile(r"\s+([^\W\d_]+)")
_NEVER_COUNTED = CURRENCIES | {"%", "pp", "bp"}
_HUNDRED = Decimal(100)
_HEDGE = re.compile(
    r"(?:about|around|approx\w*\.?|roughly|nearly|almost|some|ca\.|circa|~|≈|rund|etwa|knapp|environ|près de)\s*$",
    re.IGNORECASE,
)
FALLING = re.compile(
    r"\b(?:fell|fall\w*|drop\w*|declin\w*|decreas\w*|down|lower\w*|less|loss\w*|lost|reduc\w*|shrank|shr[iu]nk\w*|minus|"
    r"negativ\w*|below|cut|saved|sank|gesunken|sank|rückgang|gefallen|weniger|verlust|baiss\w*|diminu\w*|perte)\b",
    re.IGNORECASE,
)
RISING = re.compile(
    r"\b(?:rose|ris(?:e|en|es|ing)|increas\w*|grew|grow\w*|gain\w*|higher|up|climb\w*|improv\w*|jump\w*|gestiegen|stieg|"
    r"anstieg|zunahme|hauss\w*|augment\w*)\b",
    re.IGNORECASE,
)
_COMPARES = re.compile(
    r"\b(?:differ\w*|gap|chang\w*|compared|more|than|between|unterschied|gegenüber|écart)\b", re.IGNORECASE
)
_ADDS = re.compile(
    r"\b(?:total\w*|sum\w*|together|combined|altogether|plus|insgesamt|zusammen|summe|somme|ensemble)\b", re.IGNORECASE
)
_AVERAGES = re.compile(r"\b(?:averag\w*|mean|durchschnitt\w*|moyenne)\b", re.IGNORECASE)
_DIVIDES = re.compile(
    r"\b(?:share|of|ratio|proportion|part|times|fold|per|anteil|von|part|quart|half|doubl\w*|tripl\w*)\b|(?<=\d)x\b",
    re.IGNORECASE,
)


def unsupported(claim: str, evidence: Sequence[Figure], *, falling: bool = False) -> tuple[Figure, ...]:
    """Figures of the claim that neither stand in the evidence nor follow from it by arithmetic the claim states.

    `falling` says that the evidence speaks of a decrease, so that its `5 %` agrees with the claim's `-5 %`.
    """
    stated = figures(claim)
    signless = falling or FALLING.search(claim) is not None
    open_figures = [figure for figure in stated if not stands_in(figure, claim, evidence, signless=signless)]
    if not open_figures:
        return ()
    operands = [figure for figure in stated if figure not in open_figures and figure.period is None][:OPERANDS_MAX]
    results = list(_arithmetic(claim, operands))
    return tuple(
        figure
        for figure in open_figures
        if figure.period is not None
        or not any(_agree(figure, result, _tolerance(figure, claim), signless=True) for result in results)
    )


def stands_in(figure: Figure, claim: str, evidence: Sequence[Figure], *, signless: bool = True) -> bool:
    """Whether one figure of the claim agrees with one of the evidence; `signless` lets -5 agree with 5."""
    if figure.period is not None:
        return _period_found(figure.period, evidence)
    tolerance = _tolerance(figure, claim)
    counted = _counts_things(figure, claim)
    for known in evidence:
        if known.period is not None or (counted and known.unit in _NEVER_COUNTED):
            continue
        if _agree(figure, known, tolerance, signless=signless):
            return True
    year = figure.text  # as it is written: 2,026 is no year
    return _YEAR.fullmatch(year) is not None and any(
        known.period is not None and known.period.unit in {"date", "quarter"} and known.period.digits.startswith(year)
        for known in evidence
    )


def _tolerance(figure: Figure, claim: str) -> Decimal:
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


def _agree(figure: Figure, known: Figure, tolerance: Decimal, *, signless: bool) -> bool:
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


def _arithmetic(claim: str, operands: Sequence[Figure]) -> Iterator[Figure]:
    """Results of the operations that the claim names, over the operands that it states."""
    if len(operands) < 2:  # noqa: PLR2004 - arithmetic takes two
        return
    values = [operand.value for operand in operands]
    total = sum(values, Decimal(0))
    if _ADDS.search(claim):
        yield _result(total, operands[0].unit)
    if _AVERAGES.search(claim):
        yield _result(total / len(values), operands[0].unit)
    moves = FALLING.search(claim) or RISING.search(claim) or _COMPARES.search(claim)
    for one, two in permutations(operands, 2):
        if len({one.unit, two.unit} - {""}) > 1:
            continue
        unit = one.unit or two.unit
        if moves:
            yield _result(one.value - two.value, "pp" if unit == "%" else unit)
            if two.value:
                yield _result((one.value - two.value) / abs(two.value) * _HUNDRED, "%")
        if _DIVIDES.search(claim) and two.value:
            yield _result(one.value / two.value * _HUNDRED, "%")
            yield _result(one.value / two.value, "x")
        if _ADDS.search(claim):
            yield _result(one.value + two.value, unit)


def _result(value: Decimal, unit: str) -> Figure:
    return Figure(value=value, unit=unit, text="")
