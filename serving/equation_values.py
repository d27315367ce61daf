"""What a term of an equation is worth, as it is written and by the evidence's own figures.

Constants count where the arithmetic itself names them: 100 for per cent, 1 for growth, the number of terms of a sum
under their mean, and what makes one unit of another (`9 h x 60 + 40 min`). Every other operand has to agree with the
evidence. One without a scale word may share one that the claim states: `12.3 + 4.5 = 16.8 million`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

from registry.figures import CURRENCIES, Figure
from serving.equation_units import (
    BARE_PERCENT,
    NOUN,
    PERCENT,
    POINTS,
    RATIO,
    UNKNOWN,
    Units,
    converted,
    divided,
    hundredth,
    multiplied,
    summed,
)
from serving.figure_agreement import NEVER_COUNTED, tolerance_of
from serving.stated_equations import Operand, Operation, Term

_YEAR = re.compile(r"\d{4}")
_PER_HUNDRED = re.compile(
    r"%|\bper ?cent|\bhundred|\bshare|\brate\b|prozent|anteil|\bquote|pour cent|\btaux", re.IGNORECASE
)
_HUNDRED = Fraction(100)
_POWERS = {Fraction(10**power): power for power in (3, 6, 9)}


@dataclass(frozen=True, slots=True)
class Value:
    """What a term is worth; percentages as their hundredth, scale words applied."""

    stated: Fraction
    """By its figures as they are written."""
    known: Fraction
    """By the figures of the evidence that they agree with."""
    units: Units
    summands: int = 1
    """Terms that were added up to it."""


@dataclass(frozen=True, slots=True)
class Known:
    """A figure that operands may agree with: of the evidence, or the result of an equation."""

    figure: Figure
    summands: int = 1


@dataclass(slots=True)
class Reading:
    """One way to read the figures of an equation, and what its terms are then worth."""

    claim: str
    known: Sequence[Known]
    signless: bool
    """-5 in the evidence agrees with 5."""
    unit: str
    """The unit of the result that is looked at."""
    power: int = 0
    """The power of ten that figures without a scale word share."""
    percent: bool = False
    """Figures without a unit share the result's per cent."""
    swapped: bool = False
    """`1,234` is read from the other side of the comma."""
    scaled: list[Decimal] = field(default_factory=list[Decimal])
    """Operands that took the shared power."""
    _values: dict[Term, Value | None] = field(default_factory=dict[Term, "Value | None"])

    def value(self, term: Term) -> Value | None:
        """What the term is worth; None if an operand is not known or the units do not fit.

        Raises:
            ZeroDivisionError: it divides by nothing.
        """
        if term not in self._values:
            self._values[term] = self._operand(term) if isinstance(term, Operand) else self._operation(term)
        return self._values[term]

    def number(self, operand: Operand) -> tuple[Decimal, Decimal]:
        """A figure's value in this reading, and the tolerance that its digits state; no shared power, no per cent."""
        figure = operand.figure
        tolerance = tolerance_of(figure, self.claim)
        other = figure.other
        if not self.swapped or other is None or not figure.value or other == -figure.value:  # (12) is 12 in brackets
            return figure.value, tolerance
        return other, tolerance * abs(other / figure.value)

    def takes_power(self, operand: Operand) -> bool:
        """Whether the figure has neither a scale word nor a unit or noun that needs none."""
        figure = operand.figure
        return figure.power == 0 and not operand.noun and figure.unit in {"", *CURRENCIES}

    def _operand(self, operand: Operand) -> Value | None:
        value, tolerance = self.number(operand)
        if self.power and self.takes_power(operand):
            value, tolerance = value.scaleb(self.power), tolerance.scaleb(self.power)
            self.scaled.append(value)
        unit = operand.figure.unit
        shares_percent = self.percent and not unit and not operand.noun
        found = self._agreeing(value, tolerance, "%" if shares_percent else unit, operand)
        if found is None:
            return self._partial(value, operand)
        known, units, summands = found
        if shares_percent and not units & POINTS:
            return None
        if shares_percent or unit in POINTS:
            return Value(Fraction(value) / 100, Fraction(known) / 100, frozenset({PERCENT}), summands)
        named = f"{NOUN}{operand.noun}" if operand.noun else RATIO if unit == "x" else unit
        units = frozenset({named}) if named else frozenset(map(_of_evidence, units))
        return Value(Fraction(value), Fraction(known), units, summands)

    def _agreeing(
        self, value: Decimal, tolerance: Decimal, unit: str, operand: Operand
    ) -> tuple[Decimal, frozenset[str], int] | None:
        """The nearest known figure, the units that it has, and of how many summands it is the sum."""
        best: Decimal | None = None
        nearest, summands = tolerance, 1
        units: set[str] = set()
        for known in self.known:
            figure = known.figure
            if figure.period is not None:
                year = figure.period.digits[:4]
                near = year if figure.period.unit in {"date", "quarter"} and year == operand.figure.text else None
                candidates = [] if near is None or not _YEAR.fullmatch(near) else [Decimal(near)]
            elif _unlike(unit, figure.unit) or (operand.noun and figure.unit in NEVER_COUNTED):
                continue
            else:
                candidates = list(_candidates(figure, unit))
            for candidate in candidates:
                nearby = candidate.copy_sign(value) if self.signless else candidate
                distance = abs(value - nearby)
                if distance < nearest or (best is None and distance == nearest):
                    best, nearest, units, summands = nearby, distance, set[str](), known.summands
                if distance == nearest:
                    units.add("" if figure.period is not None else figure.unit)
        return None if best is None else (best, frozenset(units), summands)

    def _partial(self, value: Decimal, operand: Operand) -> Value | None:
        """What a side before this one came to on its way: the 10 of `(50 - 40) / 40 = 10 / 40`."""
        if operand.figure.unit or operand.noun:
            return None
        sides = (term for term in self._values if isinstance(term, Operation))
        values = (self._values[term] for term in sides)
        return next((found for found in values if found is not None and found.stated == Fraction(value)), None)

    def _operation(self, term: Operation) -> Value | None:
        if term.sign == "/" and (quotient := _percent_last(term)) is not None:
            value = self._with_hundred(quotient.left)
            if value is not None:
                return value
        constant = next(self._with_constants(term), None)
        left, right = self.value(term.left), self.value(term.right)
        plain = None if left is None or right is None else _calculated(term.sign, left, right)
        if constant is None or plain is None or constant.stated != plain.stated:
            return constant or plain
        return replace(constant, units=constant.units | plain.units)  # `x 60` may be minutes, or 60 parcels

    def _with_constants(self, term: Operation) -> Iterator[Value]:
        """The term with one of its sides as a constant, where the other side asks for it."""
        for literal, other in ((term.right, term.left), (term.left, term.right)):
            number = _literal(literal)
            if number is None or (term.sign == "/" and literal is term.left):
                continue
            if term.sign == "*" and number == _HUNDRED and (value := self._with_hundred(other)) is not None:
                yield value
            if term.sign == "*" and (value := self._written_out(other, number)) is not None:
                yield value
            value = self.value(other)
            if value is None:
                continue
            if term.sign in "+-":
                one = self._whole(literal, value.units)
                found = (
                    None
                    if one is None
                    else _calculated(term.sign, *((value, one) if other is term.left else (one, value)))
                )
            else:
                found = _with_factor(value, number, divides=term.sign == "/")
            if found is not None:
                yield found

    def _with_hundred(self, ratio: Term) -> Value | None:
        """A ratio times 100: the percentage that is stated as one, or the number of them if no unit is written."""
        value = self.value(ratio)
        if value is None or RATIO not in value.units or self.unit not in {"", *POINTS}:
            return None
        if self.unit:
            return replace(value, units=frozenset({RATIO}))
        if _PER_HUNDRED.search(self.claim) is None:
            return None
        return Value(value.stated * 100, value.known * 100, frozenset({BARE_PERCENT}))

    def _written_out(self, operand: Term, factor: Fraction) -> Value | None:
        """The `1.2 * 1,000,000` that the evidence's 1.2 million is."""
        power = _POWERS.get(factor)
        if power is not None and isinstance(operand, Operation) and operand.sign == "/":  # (1.2 / 40) * 1,000,000
            dividend, divisor = self._written_out(operand.left, factor), self.value(operand.right)
            return None if dividend is None or divisor is None else _calculated("/", dividend, divisor)
        if power is None or not isinstance(operand, Operand) or not self.takes_power(operand):
            return None
        figure, shift = operand.figure, Decimal(1).scaleb(power)
        other = None if figure.other is None else figure.other * shift
        figure = replace(figure, value=figure.value * shift, step=figure.step * shift, other=other, power=power)
        return self._operand(replace(operand, figure=figure))

    def _whole(self, literal: Term, units: Units) -> Value | None:
        """The 1 or 100 % that growth and remainders are taken from."""
        figure = literal.figure if isinstance(literal, Operand) else None
        number = _literal(literal)
        if figure is None or number is None:
            return None
        written = "%" if self.percent and not figure.unit else figure.unit
        if number == 1 and not figure.unit and units & {RATIO, PERCENT}:
            return Value(Fraction(1), Fraction(1), frozenset({RATIO}))
        if number == _HUNDRED and written == "%" and units & {RATIO, PERCENT}:
            return Value(Fraction(1), Fraction(1), frozenset({PERCENT}))
        if number == _HUNDRED and not written and BARE_PERCENT in units:
            return Value(_HUNDRED, _HUNDRED, frozenset({BARE_PERCENT}))
        return None


def _candidates(figure: Figure, unit: str) -> Iterator[Decimal]:
    for reading in figure.readings:
        yield reading
        if unit == "%" and not figure.unit and abs(reading) <= 1:
            yield reading * 100


def _unlike(one: str, two: str) -> bool:
    named = frozenset((one, two)) - {"", NOUN}
    return len(named) > 1 and named != POINTS


def _of_evidence(unit: str) -> str:
    """The unit of a figure that is written without one, from the evidence."""
    return {"%": BARE_PERCENT, "pp": BARE_PERCENT, "x": RATIO, NOUN: UNKNOWN}.get(unit, unit)


def _literal(term: Term) -> Fraction | None:
    """The whole number that a figure without scale and unit is, or 100 %."""
    if not isinstance(term, Operand) or term.figure.power or term.figure.step != 1:
        return None
    hundred = term.figure.unit == "%" and term.figure.value == 100  # noqa: PLR2004 - the whole
    return Fraction(term.figure.value) if hundred or not term.figure.unit else None


def _percent_last(term: Operation) -> Operation | None:
    """`100 * a / b` as `a / b * 100`."""
    if not isinstance(term.left, Operation) or term.left.sign != "*":
        return None
    for hundred, other in ((term.left.left, term.left.right), (term.left.right, term.left.left)):
        if _literal(hundred) == _HUNDRED:
            return Operation("*", Operation("/", other, term.right), hundred)
    return None


def _with_factor(value: Value, number: Fraction, *, divides: bool) -> Value | None:
    """The value times or over a constant that its own units or its summands name."""
    if number <= 0:
        return None
    factor = 1 / number if divides else number
    units = converted(value.units, factor)
    if divides and number == _HUNDRED:
        units |= hundredth(value.units)
    if divides and value.summands == number > 1:
        units |= value.units
    return Value(value.stated * factor, value.known * factor, units) if units else None


def _calculated(sign: str, left: Value, right: Value) -> Value | None:
    if sign == "*":
        units = multiplied(left.units, right.units)
        found = Value(left.stated * right.stated, left.known * right.known, units)
    elif sign == "/":
        units = divided(left.units, right.units)
        found = Value(left.stated / right.stated, left.known / right.known, units)
    else:
        units = summed(left.units, right.units)
        one = 1 if sign == "+" else -1
        summands = left.summands + right.summands if sign == "+" else 1
        found = Value(left.stated + one * right.stated, left.known + one * right.known, units, summands)
    return found if units else None
