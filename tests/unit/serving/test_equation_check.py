"""Stated equations: what follows from the evidence is supported; a wrong one is flagged, whatever else stands there."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from registry.figures import figures
from serving.figure_check import unsupported

REVENUE = "Revenue was EUR 40 million in 2024 and EUR 50 million in 2025."
DEPOTS = "120 parcels, 3 depots, 45 drivers."
SHARES = "Late parcels: 12 %. Lost parcels: 3 %. Damaged parcels: 4.5 %."
SUMS = "Costs: EUR 12.3 million for rent and EUR 4.5 million for fuel."


def flagged(claim: str, evidence: str) -> list[str]:
    """The figures of the claim that are not supported."""
    return [figure.text for figure in unsupported(claim, figures(evidence))]


class TestTrueEquations:
    """What holds."""

    @pytest.mark.parametrize(
        ("claim", "evidence"),
        [
            ("Revenue grew from EUR 40 million to EUR 50 million: (50 - 40) / 40 = 25 %", REVENUE),
            ("Revenue grew by 25 % ((50 \u2212 40) / 40 \u00d7 100 = 25 %).", REVENUE),
            ("(EUR 50 million - EUR 40 million) / EUR 40 million = 0.25 = 25 %", REVENUE),
            ("50 million / 40 million - 1 = 25 %", REVENUE),
            ("(50 million / 40 million - 1) x 100 = 25 %", REVENUE),
            ("EUR 50 million - EUR 40 million = EUR 10 million; EUR 10 million / EUR 40 million = 25 %", REVENUE),
            ("(50 - 40) / 40 = 10 / 40 = 25 %", "40, 50"),
            ("100 * 50 / 40 = 125 %", "40; 50"),
            ("50 / 40 = 1.25x", "40; 50"),
            ("The rate is 448 / 948 x 100 = 47.3.", "448 of 948"),
            ("36.0 / 174.1 = 20.7 %", "36.0 thousand of EUR 174.1 thousand"),
            ("Revenue 2025 = 40 million + 10 million = 50 million", "In 2025: 40 million and 10 million"),
            ("12.3 + 4.5 = 16.8 million", SUMS),
            ("EUR 12.3 million + EUR 4.5 million equals EUR 16.8 million", SUMS),
            ("12,3 Mio. € + 4,5 Mio. € = 16,8 Mio. €", SUMS),
            ("Costs were EUR 16.8 million in all (12.3 million + 4.5 million = 16.8 million).", SUMS),
            ("1.2 * 1,000,000 * 4.1 / 100 = EUR 49,200", "A loan of EUR 1.2 million at 4.1 %."),
            ("EUR 1.2 million x 4.1 % = EUR 49,200", "A loan of EUR 1.2 million at 4.1 %."),
            ("4.1 % of EUR 1.2 million = EUR 49,200", "A loan of EUR 1.2 million at 4.1 %."),
            ("120 / 3 = 40 per depot", DEPOTS),
            ("120 parcels / 3 depots = 40 parcels per depot", DEPOTS),
            ("120 : 3 = 40", DEPOTS),
            ("120 parcels divided by 3 depots equals 40.", DEPOTS),
            ("3 x 1.5 = 4.5", "3 runs of 1.5"),
            ("12 % + 3 % + 4.5 % = 19.5 %", SHARES),
            ("12 - 3 = 9 pp", SHARES),
            ("100 % - 12 % = 88 %", SHARES),
            ("(12 + 14 + 16) / 3 = 14", "12, 14, 16"),
            ("12 + 14 + 16 = 42, and 42 / 3 = 14", "12, 14, 16"),
            ("9 h x 60 + 40 min = 580 min", "It took 9 hours 40 minutes."),
            ("3,346 kg / 1,000 = 3.346 t", "Waste: 3,346 kg."),
            ("240 + 3 * 55 = EUR 405", "EUR 240 a week, EUR 55 an hour, 3 hours."),
            ("40 - 50 = -10", "40, 50"),
            ("564 / 785 \u2248 about 72 %", "564; 785"),
            ("**120 / 3** = **40**", DEPOTS),
            ("8,120 + 745 = 8,865", "8,120; 745"),
            ("8.120 + 745 = 8.865", "8,120; 745"),
        ],
    )
    def test_is_supported(self, claim: str, evidence: str) -> None:
        """Each operand stands in the evidence or is named by the arithmetic; the result is right as it is rounded."""
        assert flagged(claim, evidence) == []


class TestFalseEquations:
    """What does not hold, or does not follow."""

    @pytest.mark.parametrize(
        ("claim", "evidence"),
        [
            # Wrong results
            ("12.3 million + 4.5 million = 16.9 million", SUMS),
            ("120 / 3 = 41", DEPOTS),
            ("120 / 3 = 45", DEPOTS),  # 45 stands there, for something else
            ("120 - 3 = 45 drivers", DEPOTS),
            ("40 + 50 = 30 + 70", "30, 40, 50, 70"),
            ("120 / 3 = 40 = 45", DEPOTS),
            ("(50 - 40) / 40 = 26 %", "40; 50; 26 %"),
            ("12 % + 3 % = 16 %", SHARES),
            ("2 + 3 x 4 = 20", "2, 3, 4, 20"),
            ("564 / 785 * 100 = 71.9 %", "564; 785"),
            ("120 / 0 = 120", "120; 0"),
            # Operands swapped, or the wrong base
            ("3 / 120 = 40", DEPOTS),
            ("(40 - 50) / 40 = 25 %", "40; 50"),
            ("(50 - 40) / 50 = 25 %", "40; 50"),
            ("40 million / 50 million = 125 %", REVENUE),
            # Signs
            ("40 - 50 = 10", "10, 40, 50"),
            ("50 - 40 = -10", "40; 50"),
            ("40 + 50 = -90", "40; 50"),
            # Units
            ("EUR 40 million + EUR 50 million = USD 90 million", REVENUE),
            ("40 million + 50 million = 90 million %", REVENUE),
            ("40 + 50 = 90 %", "EUR 40, EUR 50, 90 %"),
            ("120 parcels + 45 drivers = 165 parcels", DEPOTS),
            ("40 drivers + 50 drivers = 90 parcels", "40 drivers, 50 drivers"),
            ("EUR 40 x EUR 50 = EUR 2,000", "EUR 40, EUR 50"),
            ("9 h x 60 + 40 min = 580 s", "9 hours 40 minutes"),
            ("9 h + 40 min = 49 min", "9 hours 40 minutes"),
            ("9 + 40 = 49 min", "9 hours 40 minutes"),
            ("EUR 31,000 / EUR 2,500 = EUR 12.4", "EUR 31,000; EUR 2,500"),
            # Per cent and points
            ("(50 - 40) / 40 = 25 pp", "40; 50"),
            ("(50 million - 40 million) / 40 million = 0.25 %", REVENUE),
            ("(50 - 40) / 40 x 100 = 0.25 %", "40; 50"),
            ("50 million / 40 million = 1.25 %", REVENUE),
            ("12 - 3 = 9 bp", SHARES),
            ("1.2 million x 4.1 = 4.92 million", "A loan of EUR 1.2 million at 4.1 %, EUR 4.92 million in all."),
            ("200 x 12 = 2,400", "200; 12 %"),
            ("120 + 12 % = 132", "120; 12 %"),
            # Millions and billions
            ("12.3 + 4.5 = 16.8 billion", SUMS),
            ("12.3 + 4.5 = 16.8", SUMS),
            ("12.3 + 4.5 = 16.8 million", "12.3; 4.5; 16.8 million"),
            ("EUR 40 million + EUR 50 million = EUR 90 billion", REVENUE),
            ("EUR 40 + EUR 50 = EUR 90", REVENUE),
            ("40 + 50 = 90 hundred", "40; 50"),
            # Operands and constants that nothing names
            ("120 / 4 = 30", DEPOTS),
            ("120 x 2 = 240", DEPOTS),
            ("120 + 100 = 220", DEPOTS),
            ("120 - 1 = 119", DEPOTS),
            ("120 / 12 = 10", DEPOTS),
            ("120 / 3 x 100 = 4,000", DEPOTS),
            ("(12 + 14 + 16) / 2 = 21", "12, 14, 16"),
            ("(120 + 45) / 3 = 55", "120 parcels, 45 drivers"),
            ("1,234 x 1,000 = 1,234,000", "1,234 parcels"),
            ("40 million x 60 = 2,400 million", REVENUE),
            # Rounding
            ("25 - 22 = 3", "25.4; 21.6"),
            ("5 / 7 = 1", "5 of 7 runs"),
            ("3 x 1.5 = 4.5", "3.4 %; 1.5"),
            # Beside the equation
            ("120 / 3 = 40, a share of 90 %", DEPOTS),
            ("50 / 40 x 100 = 125 %, and 40 % is the share", "50; 40 million"),
            ("120 / 3 = 40, which costs EUR 40", DEPOTS),
        ],
    )
    def test_is_flagged(self, claim: str, evidence: str) -> None:
        """A wrong result, unit, scale, sign or operand is flagged, and a constant that the arithmetic does not name."""
        assert flagged(claim, evidence)

    @pytest.mark.parametrize(
        ("claim", "evidence"),
        [
            ("40 + 50 = 95", "40; 50; 95"),
            ("120 / 3 equals 45", DEPOTS),
            ("EUR 50 million - EUR 40 million = EUR 40 million", REVENUE),
        ],
    )
    def test_a_wrong_result_is_flagged_though_it_stands_in_the_evidence(self, claim: str, evidence: str) -> None:
        """The equation is a false statement; the figure alone would have passed."""
        assert len(flagged(claim, evidence)) == 1


class TestNoEquations:
    """What only looks like one."""

    @pytest.mark.parametrize(
        ("claim", "evidence"),
        [
            ("2026-03 = 12 parcels", "In 2026-03 there were 12 parcels."),
            ("The ratio Q1/Q2 = 1.2", "Q1, Q2, 1.2"),
            ("Support runs 24/7, a team of 3 = one shift", "Support runs 24/7 in teams of 3."),
            ("A-12 = 3", "Code A-12: 3"),
            ("Depot 3: 40-50 drivers = normal", "Depot 3 has 40-50 drivers."),
            ("3 (40 + 50) = 45", "3; 40; 50; 45"),
            ("rest + 40 = 45", "40; 45"),
            ("40 + 50 = 45 + rest", "40; 50; 45"),
            ("40 + 50 \u2260 45", "40; 50; 45"),
            ("2^3 + 40 = 45", "2, 3, 40, 45"),
            ("14 h 20 min + 40 min = 15 h", "14 h 20 min, 40 min, 15 h"),
            ("1. 40 = 40", "40; 1"),
            ("On 01.02.2026 / 3 = 45", "01.02.2026; 3; 45"),
        ],
    )
    def test_is_left_alone(self, claim: str, evidence: str) -> None:
        """Dates, identifiers, ranges, prose and what cannot be read as a whole: each figure stands for itself."""
        assert flagged(claim, evidence) == []

    @pytest.mark.parametrize("claim", ["2026-03 = 2023", "A-12 = 3", "24/7 = 3.43", "Q1/Q2 = 1.2", "12:30 = 750 min"])
    def test_proves_nothing(self, claim: str) -> None:
        """None of them supports a figure that the evidence does not hold."""
        assert flagged(claim, "March of 2026, A-12, 24 hours, Q1 and Q2, 12:30")


AMOUNTS = st.decimals(min_value="0.01", max_value="9999.99", places=2)
SIGNS = st.sampled_from("+-*/")


def _worked_out(one: Decimal, sign: str, two: Decimal) -> Fraction:
    left, right = Fraction(one), Fraction(two)
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right}[sign]


def _rounded(value: Fraction, places: int) -> Decimal:
    step = Decimal(1).scaleb(-places)
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(step, rounding=ROUND_HALF_UP)


@given(one=AMOUNTS, two=AMOUNTS, sign=SIGNS, places=st.integers(min_value=2, max_value=6))
def test_a_true_equation_over_the_evidence_is_supported(one: Decimal, two: Decimal, sign: str, places: int) -> None:
    """However far the result is rounded, unless the rounding takes most of it away."""
    exact = _worked_out(one, sign, two)
    result = _rounded(exact, places)
    assume(abs(Fraction(result) - exact) <= abs(exact) / 10)
    assert flagged(f"{one} {sign} {two} = {result}", f"{one} and {two}") == []


@given(
    one=AMOUNTS,
    two=AMOUNTS,
    sign=SIGNS,
    off=st.sampled_from((-1000, -7, -1, 1, 3, 250)),
    places=st.integers(min_value=2, max_value=4),
)
@example(one=Decimal("1.00"), two=Decimal("1.00"), sign="+", off=1, places=2)
def test_a_result_off_by_its_last_digit_is_flagged(
    one: Decimal, two: Decimal, sign: str, off: int, places: int
) -> None:
    """Also where the evidence holds that figure."""
    step = Decimal(1).scaleb(-places)
    exact = _worked_out(one, sign, two)
    wrong = _rounded(exact, places) + off * step
    assume(abs(Fraction(wrong) - exact) > Fraction(step) / 2)  # what lies in the middle may be rounded either way
    assert flagged(f"{one} {sign} {two} = {wrong}", f"{one} and {two} and {wrong}")


@given(one=AMOUNTS, two=AMOUNTS, other=AMOUNTS, sign=SIGNS)
def test_an_operand_that_the_evidence_does_not_hold_is_flagged(
    one: Decimal, two: Decimal, other: Decimal, sign: str
) -> None:
    """However right the equation is."""
    assume(other not in {one, two} and abs(other) not in {1, 100})
    result = _rounded(_worked_out(one, sign, other), 4)
    assert flagged(f"{one} {sign} {other} = {result}", f"{one} and {two}")


PIECES = st.sampled_from(
    [
        *("1", "40", "-5", "0", "12 %", "EUR 3 million", "2026", "1,234", "100", "60", "9 h", "3 x", "(12)", "0.5 pp"),
        *("(", ")", "+", "-", "x", "/", ":", "=", "\u2248", "of", "parcels", "equals", ",", "^", "**"),
    ]
)


@given(st.lists(PIECES, max_size=24).map(" ".join), st.lists(PIECES, max_size=8).map(" ".join))
@example("(((1 = = 2) + ) x 3 = ", "1")
def test_never_raises(claim: str, evidence: str) -> None:
    """Whatever is written, every figure of the claim is either supported or not."""
    assert set(flagged(claim, evidence)) <= {figure.text for figure in figures(claim)}


@pytest.mark.parametrize(
    "claim",
    ["(((((1+1" * 12_500, "1+1=" * 5_000, "(=" * 50_000, "1 = 1 / " * 2_000, "(" * 50_000 + "1 + 1 = 2" + ")" * 50_000],
)
def test_a_hundred_kilobytes_of_brackets_end(claim: str) -> None:
    """No recursion, and no search that grows faster than the text: it ends, and it supports nothing."""
    assert "1" in flagged(f"{claim} 1", "nothing")
