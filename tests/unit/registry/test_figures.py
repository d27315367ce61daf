"""Figures: what is written in three ways comes back as the number that was meant."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.figures import figures

WRITINGS = {"en": (",", "."), "de": (".", ","), "fr": ("\u202f", ","), "fr-plain": (" ", ","), "ch": ("'", ".")}
UNITS = {"": "", " %": "%", " €": "EUR", " USD": "USD", " days": "d", " Prozent": "%", " percentage points": "pp"}
SCALES = {"": 0, " million": 6, " Mio.": 6, " billion": 9, " Milliarden": 9, " milliards": 9, " thousand": 3}


def written(value: Decimal, writing: str) -> str:
    """The number as English, German, French or Swiss print writes it."""
    thousands, point = WRITINGS[writing]
    return f"{value:,f}".replace(",", "\x00").replace(".", point).replace("\x00", thousands)


numbers = st.decimals(min_value=-(10**9), max_value=10**9, places=2, allow_nan=False)


class TestRoundTrip:
    """Writing a number and reading it back gives the number."""

    @given(value=numbers, writing=st.sampled_from(sorted(WRITINGS)), unit=st.sampled_from(sorted(UNITS)))
    def test_decimals_in_every_writing(self, value: Decimal, writing: str, unit: str) -> None:
        """Two decimals, any thousands mark, any unit: one figure with that value, unit and step."""
        (figure,) = figures(f"The result was {written(value, writing)}{unit} then.")
        assert (figure.value, figure.unit, figure.step) == (value, UNITS[unit], Decimal("0.01"))
        assert figure.other is None

    @given(value=st.integers(min_value=-(10**12), max_value=10**12), writing=st.sampled_from(sorted(WRITINGS)))
    def test_whole_numbers_in_every_writing(self, value: int, writing: str) -> None:
        """A whole number is the value, or, where one mark may mean both, the other reading."""
        (figure,) = figures(f"It was {written(Decimal(value), writing)}!")
        assert Decimal(value) in figure.readings

    @given(tenths=st.integers(min_value=1, max_value=9_999), scale=st.sampled_from(sorted(SCALES)))
    def test_scale_words(self, tenths: int, scale: str) -> None:
        """A scale word multiplies the value and the worth of its last digit, and is remembered."""
        value = Decimal(tenths) / 10
        (figure,) = figures(f"about {value:.1f}{scale} pieces")
        assert figure.value == value * Decimal(10) ** SCALES[scale]
        assert figure.step == Decimal("0.1") * Decimal(10) ** SCALES[scale]
        assert figure.power == SCALES[scale]

    @given(st.text(max_size=200))
    def test_never_raises(self, text: str) -> None:
        """Any text has figures, or none; each is cut out of the text itself."""
        for figure in figures(text):
            assert text[figure.start :].lstrip().startswith(figure.text[:1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("€1.2m", [(Decimal(1_200_000), "EUR")]),
        ("\u2212$3k and -5.3%", [(Decimal(-3000), "USD"), (Decimal("-5.3"), "%")]),
        ("12 M€, 12k€", [(Decimal(12_000_000), "EUR"), (Decimal(12_000), "EUR")]),
        ("from 10-20 days", [(Decimal(10), ""), (Decimal(20), "d")]),
        ("a 30-day trial, twelve weeks", [(Decimal(30), "d"), (Decimal(12), "week")]),
        ("two million users", [(Decimal(2_000_000), "")]),
        ("25 bps, 3 per cent", [(Decimal(25), "bp"), (Decimal(3), "%")]),
        ("5 m tall", [(Decimal(5), "")]),
        ("SKU-12, v2.1.3, A320, GPT-4, 3D, 10.0.0.1", []),
        ("In 2026 100 customers", [(Decimal(2026), ""), (Decimal(100), "")]),
    ],
)
def test_what_people_write(text: str, expected: list[tuple[Decimal, str]]) -> None:
    """Money, ranges, number words and scales are read; identifiers are left alone."""
    assert [(figure.value, figure.unit) for figure in figures(text)] == expected


@pytest.mark.parametrize(
    ("text", "value", "other"),
    [
        ("1,234", "1234", "1.234"),
        ("1.234", "1.234", "1234"),
        ("1.234 und 3,5", "1234", "1.234"),
        ("(426)", "426", "-426"),
    ],
)
def test_both_readings_of_what_can_mean_two_things(text: str, value: str, other: str) -> None:
    """One mark before three digits has two readings, the likelier first; (12) may be negative."""
    figure = figures(text)[0]
    assert (figure.value, figure.other) == (Decimal(value), Decimal(other))


@pytest.mark.parametrize(
    ("text", "unit", "digits"),
    [
        ("March 2026", "date", "202603"),
        ("14. März 2026", "date", "20260314"),
        ("May 1st, 2026", "date", "20260501"),
        ("2026-03-14", "date", "20260314"),
        ("14.03.2026", "date", "20260314"),
        ("12/25/2026", "date", "20261225"),
        ("report 2026-03-review", "date", "202603"),
        ("FY2026", "date", "2026"),
        ("Q3 2026", "quarter", "20263"),
        ("the third quarter of 2026", "quarter", "20263"),
        ("3. Quartal 2026", "quarter", "20263"),
        ("1er trimestre 2026", "quarter", "20261"),
        ("in Q2", "quarter", "2"),
        ("on 14 March", "day", "0314"),
        ("at 14:30", "time", "1430"),
    ],
)
def test_periods(text: str, unit: str, digits: str) -> None:
    """Dates, quarters and times are one figure each, their digits largest part first."""
    (figure,) = figures(text)
    assert figure.period is not None
    assert (figure.unit, figure.period.digits) == (unit, digits)


@pytest.mark.parametrize(
    ("outer", "inner", "covered"),
    [
        ("2026-03", "14 March 2026", True),
        ("Q1 2026", "March 2026", True),
        ("Q2 2026", "March 2026", False),
        ("March 2026", "2026-03", True),
        ("14 March 2026", "March 2026", False),
        ("Q3", "Q3 2026", True),
        ("14 March", "2026-03-14", True),
        ("FY2026", "Q3 2026", True),
    ],
)
def test_a_period_covers_its_parts(outer: str, inner: str, covered: bool) -> None:  # noqa: FBT001 - a table's column
    """A year covers its quarters and months, a quarter its months, a month its days, and never the other way round."""
    wide, narrow = figures(outer)[0].period, figures(inner)[0].period
    assert wide is not None
    assert narrow is not None
    assert wide.covers(narrow) is covered
