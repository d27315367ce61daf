"""Checks the figures of a claim: each comes from the evidence, or from arithmetic that the claim states.

What agrees says `serving.figure_agreement`; `fell by 5 %` agrees with -5 %, too. Arithmetic counts in two ways, and its
operands have to agree with the evidence themselves:

* an equation (`serving.equation_check`): `(50 - 40) / 40 = 25 %`. A wrong one is flagged, whatever else stands there.
* words that name the operation, with both operands: sum, mean, difference, percent change, share and multiple.
  `rose from 40 to 50, by 25 %` is checked; `rose by 25 %` alone has to stand in the evidence.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import permutations

from registry.figures import Figure, figures
from serving.equation_check import check_equations
from serving.figure_agreement import agree, stands_in, tolerance_of

OPERANDS_MAX = 12
"""Figures of one claim that arithmetic may use; more make a table, not a claim."""
_HUNDRED = Decimal(100)
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
    checked = check_equations(claim, stated, evidence, signless=signless)
    known = [*evidence, *checked.results]
    standing = [figure for figure in stated if stands_in(figure, claim, known, signless=signless)]
    open_figures = [
        figure
        for figure in stated
        if figure.start in checked.refuted or (figure not in standing and figure.start not in checked.settled)
    ]
    if not open_figures:
        return ()
    operands = [figure for figure in standing if figure not in open_figures and figure.period is None][:OPERANDS_MAX]
    results = list(_arithmetic(claim, operands))
    return tuple(
        figure
        for figure in open_figures
        if figure.period is not None
        or figure.start in checked.refuted
        or not any(agree(figure, result, tolerance_of(figure, claim), signless=True) for result in results)
    )


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
