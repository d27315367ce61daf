"""Whether the equations that a claim states are true of its evidence: operands, operations, result and units.

An equation holds when each operand agrees with the evidence or is the result of an equation before it; when the result
is right within the rounding that its own digits state, for the operands as they are written and for the evidence's own
figures; and when its unit follows from theirs. A wrong result is a false statement, also where that figure happens to
stand in the evidence. Where units cannot be told, an equation shows nothing, neither way.

Exact fractions throughout; the limits are those of `serving.stated_equations`, and `POWERS_MAX`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from registry.figures import Figure
from serving.equation_units import BARE_PERCENT, NOUN, POINTS, RATIO, UNKNOWN, permits
from serving.equation_values import Known, Reading, Value
from serving.stated_equations import Equation, Operand, operands_of, stated_equations

POWERS_MAX = 3
"""Scale words of a claim, and of what it cites, that its operands may share."""
ROUNDING_SHARE_MAX = Fraction(1, 5)
"""A result that is rounded by more than this share shows nothing: 1 / 2 = 1."""

Finding = Literal["holds", "wrong", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedEquations:
    """What the equations of a claim show, by where its figures start."""

    settled: frozenset[int]
    """Figures of equations that hold: operands, constants, results."""
    refuted: frozenset[int]
    """Wrong results."""
    results: tuple[Figure, ...]
    """What the equations that hold come to, for the rest of the claim to agree with."""


def check_equations(
    claim: str, stated: Sequence[Figure], evidence: Sequence[Figure], *, signless: bool
) -> CheckedEquations:
    """Check all equations of a claim, each with the results of those before it; never raises.

    Args:
        claim: a statement.
        stated: `figures(claim)`.
        evidence: figures of what it cites.
        signless: -5 in the evidence agrees with 5.
    """
    settled: set[int] = set()
    refuted: set[int] = set()
    results: list[Known] = []
    for equation in stated_equations(claim, stated):
        sight = _Sight(claim, stated, (*map(Known, evidence), *results), signless)
        starts = {operand.figure.start for side in equation.sides for operand in operands_of(side)}
        found = [(result, *sight.finding(equation, result)) for result in equation.results]
        refuted.update(result.figure.start for result, finding, _ in found if finding == "wrong")
        if not found and sight.unequal(equation):
            refuted.add(max(starts))
        if found and all(finding == "holds" for _, finding, _ in found):
            settled |= starts
            for result, _, value in found:
                results.extend(() if value is None else _known_results(result, value))
    return CheckedEquations(
        settled=frozenset(settled), refuted=frozenset(refuted), results=tuple(known.figure for known in results)
    )


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one equation is checked by."""

    claim: str
    stated: Sequence[Figure]
    known: Sequence[Known]
    signless: bool

    def finding(self, equation: Equation, result: Operand) -> tuple[Finding, Value | None]:
        """What the first reading says whose operands are all known, or that the result holds in a later one."""
        finding: Finding | None = None
        for reading in self.readings(equation, result.figure.unit):
            values = _values(equation, reading)
            if values is None:
                finding = finding or "wrong"  # it divides by nothing
            elif values:
                compared = _compared(values, result, reading, self.anchors(equation, reading))
                if compared == "holds":
                    return compared, values[-1]
                finding = finding or compared
        return finding or "open", None

    def unequal(self, equation: Equation) -> bool:
        """Whether terms that are said to be equal are not, in every reading in which all operands are known."""
        read = (_values(equation, reading) for reading in self.readings(equation, ""))
        differ = [len({value.stated for value in values}) > 1 for values in read if values]
        return bool(differ) and all(differ)

    def readings(self, equation: Equation, unit: str) -> Iterator[Reading]:
        """As it is written; with a scale or per cent that its figures share; from the other side of the comma."""
        figures = (*self.stated, *(known.figure for known in self.known))
        powers = sorted({figure.power for figure in figures if figure.power})[:POWERS_MAX]
        ambiguous = any(operand.figure.other is not None for side in equation.sides for operand in operands_of(side))
        for swapped in (False, True)[: 1 + ambiguous]:
            for power in (0, *powers):
                yield Reading(self.claim, self.known, self.signless, unit, power=power, swapped=swapped)
            if unit in POINTS:
                yield Reading(self.claim, self.known, self.signless, unit, percent=True, swapped=swapped)

    def anchors(self, equation: Equation, reading: Reading) -> frozenset[Decimal]:
        """Figures beside the equation that say in full what its own are short for."""
        inside = {operand.figure.start for side in equation.sides for operand in operands_of(side)}
        beside = (figure for figure in self.stated if figure.start not in inside)
        return frozenset(figure.value for figure in beside if reading.power and figure.power == reading.power)


def _values(equation: Equation, reading: Reading) -> list[Value] | None:
    """What the terms are worth; empty if one of them cannot be told, None if one divides by nothing."""
    try:
        values = [reading.value(term) for term in equation.terms]
    except ZeroDivisionError:
        return None
    return [] if None in values else [value for value in values if value is not None]


def _compared(values: Sequence[Value], result: Operand, reading: Reading, anchors: frozenset[Decimal]) -> Finding:
    unit = f"{NOUN}{result.noun}" if result.noun else result.figure.unit
    written, tolerance = reading.number(result)
    goals = [(Fraction(written), Fraction(tolerance))]
    if unit in POINTS:
        goals = [(Fraction(written) / 100, Fraction(tolerance) / 100)]
    elif reading.takes_power(result) and reading.scaled and anchors.issuperset(reading.scaled):
        goals.append((Fraction(written.scaleb(reading.power)), Fraction(tolerance.scaleb(reading.power))))
    fitting = [goal for goal in goals if all(abs(value.stated - goal[0]) <= goal[1] for value in values)]
    if not fitting:
        # In a table of percentages the evidence's figures bear no sign either: `12 + 3 = 15 %`.
        plain = unit in POINTS and all(abs(value.stated - Fraction(written)) <= tolerance for value in values)
        return "open" if plain and all(value.units == frozenset({UNKNOWN}) for value in values) else "wrong"
    permitted = [permits(value.units, unit) for value in values]
    if False in permitted:
        return "wrong"
    goal, reach = fitting[0]
    near = all(abs(value.known - goal) <= min(reach, abs(value.known) * ROUNDING_SHARE_MAX) for value in values)
    return "holds" if near and None not in permitted else "open"


def _known_results(result: Operand, value: Value) -> Iterator[Known]:
    """The result as later figures may name it, with the digits that it has and not only those that it shows."""
    unit = result.figure.unit
    share = RATIO in value.units or unit in POINTS
    if share or BARE_PERCENT in value.units:
        yield Known(_figure(value.known * (100 if share else 1), "%"))
    if not share or not unit:
        named = {name for name in value.units - {UNKNOWN, RATIO, BARE_PERCENT} if not name.startswith(NOUN)}
        yield Known(_figure(value.known, unit or (named.pop() if len(named) == 1 else NOUN)), value.summands)


def _figure(value: Fraction, unit: str) -> Figure:
    return Figure(value=Decimal(value.numerator) / Decimal(value.denominator), unit=unit, text="")
