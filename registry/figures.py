"""Figures out of a text: numbers with their units, dates and times, in English, German and French writing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from registry.periods import Period, periods


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure as it stands in a text."""

    value: Decimal
    """The number, scale words applied: `1.2 million` is 1200000. Periods are the digits of `registry.periods`."""
    unit: str
    """`%`, `pp`, `bp`, a currency code, a unit of time or measure, `date`, `day`, `quarter`, `time`, or empty."""
    text: str
    """The words it was read from, verbatim."""
    start: int = 0
    """Where it stands in the text."""
    step: Decimal = Decimal(1)
    """The worth of the last digit that is written: 100000 for `1.2 million`, 0.01 for `3.14`."""
    other: Decimal | None = None
    """What `1,234` or `1.234` means to a reader from the other side of the comma, `(12)` to an accountant."""

    power: int = 0
    """Power of ten that its scale word gives: 6 in `1.2 million`."""
    period: Period | None = None
    """The date, quarter or time that it is; None for a number."""

    @property
    def readings(self) -> tuple[Decimal, ...]:
        """The value, then the other reading if there is one."""
        return (self.value,) if self.other is None else (self.value, self.other)


DIGITS_MAX = 30
"""Longer runs of digits are identifiers, not figures."""

_SPACES = " \u00a0\u202f\u2009"
_SPACE = f"[{_SPACES}]"
_SCALES = {
    **dict.fromkeys(("k", "K", "thousand", "tsd", "tausend", "mille"), 3),
    **dict.fromkeys(("m", "M", "mn", "mio", "million", "millions", "millionen"), 6),
    **dict.fromkeys(("b", "B", "bn", "mrd", "billion", "billions", "milliarde", "milliarden", "milliard"), 9),
    **dict.fromkeys(("milliards", "mds", "md"), 9),
    **dict.fromkeys(("trillion", "trillions", "tn"), 12),
}
_LONG_SCALES = "|".join(sorted((name for name in _SCALES if len(name) > 1), key=len, reverse=True))
_UNITS = {
    **dict.fromkeys(("%", "percent", "per cent", "pct", "prozent", "pour cent"), "%"),
    **dict.fromkeys(("percentage points", "percentage point", "pp", "prozentpunkte", "prozentpunkt"), "pp"),
    **dict.fromkeys(("prozentpunkten", "points de pourcentage", "point de pourcentage"), "pp"),
    **dict.fromkeys(("basis points", "basis point", "bps", "bp", "basispunkte"), "bp"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "EUR"),
    **dict.fromkeys(("$", "us$", "usd", "dollar", "dollars", "us dollars"), "USD"),
    **dict.fromkeys(("£", "gbp", "pound", "pounds"), "GBP"),
    **dict.fromkeys(("chf", "franken", "francs"), "CHF"),
    **dict.fromkeys(("¥", "jpy", "yen"), "JPY"),
    **dict.fromkeys(("milliseconds", "ms"), "ms"),
    **dict.fromkeys(("second", "seconds", "s", "sekunden", "sekunde", "secondes"), "s"),
    **dict.fromkeys(("minute", "minutes", "min", "mins", "minuten"), "min"),
    **dict.fromkeys(("hour", "hours", "h", "hrs", "stunde", "stunden", "heure", "heures"), "h"),
    **dict.fromkeys(("day", "days", "tag", "tage", "tagen", "jour", "jours"), "d"),
    **dict.fromkeys(("week", "weeks", "woche", "wochen", "semaine", "semaines"), "week"),
    **dict.fromkeys(("month", "months", "monat", "monate", "monaten", "mois"), "month"),
    **dict.fromkeys(("year", "years", "jahr", "jahre", "jahren", "an", "ans", "années", "année"), "year"),
    **dict.fromkeys(("kg", "kilos", "kilograms", "kilogramm"), "kg"),
    **dict.fromkeys(("g", "grams", "gramm"), "g"),
    **dict.fromkeys(("t", "tonnes", "tons", "tonnen", "tonne"), "t"),
    **dict.fromkeys(("km", "kilometres", "kilometers", "kilometer"), "km"),
    **dict.fromkeys(("cm", "centimetres"), "cm"),
    **dict.fromkeys(("mm", "millimetres"), "mm"),
    **dict.fromkeys(("l", "litres", "liters", "liter", "litre"), "l"),
    **dict.fromkeys(("kwh",), "kWh"),
    **dict.fromkeys(("mwh",), "MWh"),
    **dict.fromkeys(("mb",), "MB"),
    **dict.fromkeys(("gb",), "GB"),
    **dict.fromkeys(("tb",), "TB"),
    **dict.fromkeys(("x", "times", "fold", "mal", "fois"), "x"),
}
CURRENCIES = frozenset({"EUR", "USD", "GBP", "CHF", "JPY"})
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_WORDS = {
    **dict.fromkeys(
        (
            "two",
            "zwei",
            "deux",
        ),
        "2",
    ),
    **dict.fromkeys(
        (
            "three",
            "drei",
            "trois",
        ),
        "3",
    ),
    **dict.fromkeys(
        (
            "four",
            "vier",
            "quatre",
        ),
        "4",
    ),
    **dict.fromkeys(
        (
            "five",
            "fünf",
            "cinq",
        ),
        "5",
    ),
    **dict.fromkeys(
        (
            "six",
            "sechs",
        ),
        "6",
    ),
    **dict.fromkeys(
        (
            "seven",
            "sieben",
        ),
        "7",
    ),
    **dict.fromkeys(
        (
            "eight",
            "acht",
            "huit",
        ),
        "8",
    ),
    **dict.fromkeys(
        (
            "nine",
            "neun",
            "neuf",
        ),
        "9",
    ),
    **dict.fromkeys(
        (
            "ten",
            "zehn",
            "dix",
        ),
        "10",
    ),
    **dict.fromkeys(
        (
            "eleven",
            "elf",
        ),
        "11",
    ),
    **dict.fromkeys(
        (
            "twelve",
            "zwölf",
        ),
        "12",
    ),
    **dict.fromkeys(("twenty",), "20"),
    **dict.fromkeys(("thirty",), "30"),
    **dict.fromkeys(("fifty",), "50"),
}
_GROUP = 3
_FIRST_GROUP = re.compile(r"[1-9]\d{0,2}")
_CURRENCY_BEFORE = r"(?P<currency>(?<![^\W_])(?:US\$|[€$£¥])|\b(?:EUR|USD|GBP|CHF|JPY)\b)"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w)\].,%€$£])[-\u2212\u2013])?(?:{_CURRENCY_BEFORE}{_SPACE}?)?(?P<minus>(?<=[€$£¥ ])[-\u2212])?"
    rf"(?<![A-Za-zÀ-ÿ_\d])(?<![A-Za-zÀ-ÿ_]-)(?<!\d[.,'])"
    rf"(?P<digits>\d{{1,3}}(?:[{_SPACES}'\u2019]\d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*|\.\d+"
    rf"|\b(?:{'|'.join(_WORDS)})\b)",
    re.IGNORECASE,
)
_SCALE = re.compile(
    rf"(?:{_SPACE}|-)?(?P<long>{_LONG_SCALES})\b\.?|(?P<short>[kKmMbB])(?![\w-])"
    rf"|{_SPACE}?(?P<before_currency>[kKM])(?={_SPACE}?(?:€|EUR\b|\$|USD\b|£))",
    re.IGNORECASE,
)
_UNIT = re.compile(
    rf"(?:{_SPACE}|-)?(?:(?:working|business|calendar|trading|us)\s)?(?P<unit>{_UNIT_NAMES})(?![\w])", re.IGNORECASE
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|e)\b", re.IGNORECASE)


def figures(text: str) -> tuple[Figure, ...]:
    """All figures of the text, in order: numbers, dates, quarters, times.

    Thousands may be parted by comma, full stop, apostrophe or (narrow) space; decimals by full stop or comma. Scale
    words and letters (k, m, bn, Mio., Mrd., milliards), currencies, percent and common units are read in English,
    German and French, small number words too. Digits inside identifiers (`AB-12`, `v2.1.3`) are no figures.
    """
    found: list[Figure] = []
    rest = text
    for period in periods(text):
        words = text[period.start : period.end]
        value = Decimal(period.digits)
        found.append(Figure(value=value, unit=period.unit, text=words, start=period.start, period=period))
        rest = rest[: period.start] + "\x00" * (period.end - period.start) + rest[period.end :]
    found.extend(_numbers(rest))
    return tuple(sorted(found, key=lambda figure: figure.start))


def _numbers(text: str) -> Iterator[Figure]:
    decimal_comma = _writes_decimal_comma(text)
    for match in _NUMBER.finditer(text):
        figure = _number(match["digits"], decimal_comma=decimal_comma)
        if figure is None:
            continue
        enclosed = text[match.end() : match.end() + 1] == ")" and text[: match.start("digits")].endswith("(")
        after = match.end() + enclosed
        exponent, end = _scale_at(text, after, money=match["currency"] is not None)
        unit = _UNITS[match["currency"].lower()] if match["currency"] else ""
        if (named := _UNIT.match(text, end)) is not None and not unit:
            unit, end = _UNITS[named["unit"].lower()], named.end()
        if end == after and (ordinal := _ORDINAL.match(text, end)) is not None:
            end = ordinal.end()
        if end < len(text) and (text[end].isalpha() or text[end] == "_") and text[end - 1].isalnum():
            continue  # 3D, 12b4: a name
        if end == after:
            end = match.end()
        factor = Decimal(10) ** exponent
        sign = -1 if match["sign"] or match["minus"] else 1
        other = -figure.value if enclosed else figure.other  # accounts write -12 as (12)
        yield replace(
            figure,
            value=figure.value * factor * sign,
            step=figure.step * factor,
            other=None if other is None else other * factor * sign,
            power=exponent,
            unit=unit,
            text=text[match.start() : end].strip(),
            start=match.start(),
        )


def _number(digits: str, *, decimal_comma: bool) -> Figure | None:
    """Read the digits alone; None when they are parted as no number is."""
    plain = _WORDS.get(digits.lower(), re.sub(rf"[{_SPACES}'\u2019]", "", digits))
    if len(plain) > DIGITS_MAX:
        return None
    marks = re.findall(r"[.,]", plain)
    parts = re.split(r"[.,]", plain)
    if not marks:
        return Figure(value=Decimal(plain), unit="", text=digits)
    grouped = plain == digits and _FIRST_GROUP.fullmatch(parts[0]) is not None
    grouped = grouped and all(len(part) == _GROUP for part in parts[1:-1])
    whole = Decimal("".join(parts)) if grouped and len(parts[-1]) == _GROUP and len(set(marks)) == 1 else None
    decimal = Decimal(f"{''.join(parts[:-1]) or '0'}.{parts[-1]}")
    if len(marks) > 1 and whole is None:
        fits = grouped and len(set(marks[:-1])) == 1 and marks[-1] != marks[0]  # 1,234,567.89
        return Figure(value=decimal, unit="", text=digits, step=_step(parts[-1])) if fits else None
    if whole is not None and (len(marks) > 1 or marks[0] != ("," if decimal_comma else ".")):
        return Figure(value=whole, unit="", text=digits, other=decimal if len(marks) == 1 else None)
    return Figure(value=decimal, unit="", text=digits, step=_step(parts[-1]), other=whole)


def _step(decimals: str) -> Decimal:
    return Decimal(1).scaleb(-len(decimals))


def _writes_decimal_comma(text: str) -> bool:
    """Whether the text's plain numbers show that its decimals stand after a comma."""
    comma = len(re.findall(r"\d,(?:\d{1,2}|\d{4,})(?!\d|,\d)|\d\.\d{3},\d", text))
    point = len(re.findall(r"\d\.(?:\d{1,2}|\d{4,})(?!\d|\.\d)|\d,\d{3}\.\d", text))
    return comma > point


def _scale_at(text: str, position: int, *, money: bool) -> tuple[int, int]:
    """Power of ten that a scale word gives, and where the word ends."""
    match = _SCALE.match(text, position)
    if match is None:
        return 0, position
    name: str = match["long"] or match["short"] or match["before_currency"]
    if match["short"] == "m" and not money and not re.match(rf"{_SPACE}?(?:€|EUR|\$|USD|£)", text[match.end() :]):
        return 0, match.end()  # metres
    return _SCALES.get(name, _SCALES.get(name.lower(), 0)), match.end()
