"""Dates, months, quarters and times of day out of a text, in English, German and French writing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PeriodUnit = Literal["date", "day", "quarter", "time"]
"""`date` 2026, 202603 or 20260314; `day` 314 for 14 March without a year; `quarter` 20263, or 3 without a year;
`time` 1430."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One date, quarter or time as it stands in a text."""

    start: int
    end: int
    """Where it stands, as a slice of the text."""
    unit: PeriodUnit
    digits: str
    """Largest part first, so that a month is a prefix of each of its days."""
    other: str | None = None
    """The digits for a reader who writes the month first; None when it is plain."""

    def covers(self, inner: "Period") -> bool:
        """Whether the other period lies within this one; quarters hold months, years hold all."""
        if self.unit == "quarter" and len(self.digits) > 1 and inner.unit == "date" and len(inner.digits) > _YEAR:
            return inner.digits[:_YEAR] == self.digits[:_YEAR] and _quarter(inner.digits) == self.digits[_YEAR:]
        if self.unit == inner.unit == "quarter" and len(self.digits) == 1:
            return inner.digits.endswith(self.digits)
        if self.unit == "day":
            return inner.digits.endswith(self.digits.zfill(4)) and inner.unit in {"day", "date"}
        if self.unit == "date" and inner.unit in {"date", "quarter"} and len(inner.digits) >= _YEAR:
            options = (inner.digits,) if inner.other is None else (inner.digits, inner.other)
            mine = (self.digits,) if self.other is None else (self.digits, self.other)
            return any(option.startswith(own) for option in options for own in mine)
        return self.unit == inner.unit and self.digits == inner.digits


_YEAR = 4
_MONTH_NAMES = (
    "january|januar|jänner|janvier|jan",
    "february|februar|février|fevrier|feb|févr|fév",
    "march|märz|mars|mar|mär|mrz",
    "april|avril|apr|avr",
    "may|mai",
    "june|juni|juin|jun",
    "july|juli|juillet|jul|juil",
    "august|août|aout|aug",
    "september|septembre|sept|sep",
    "october|oktober|octobre|oct|okt",
    "november|novembre|nov",
    "december|dezember|décembre|decembre|dec|dez|déc",
)
_MONTHS = {name: f"{number:02}" for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split("|")}
_MONTH = "(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
_ORDINALS = {
    **dict.fromkeys(("first", "erste", "ersten", "premier", "1st"), "1"),
    **dict.fromkeys(("second", "zweite", "zweiten", "deuxième", "2nd"), "2"),
    **dict.fromkeys(("third", "dritte", "dritten", "troisième", "3rd"), "3"),
    **dict.fromkeys(("fourth", "vierte", "vierten", "quatrième", "4th", "last", "final"), "4"),
}
_ORDINAL = "(?P<ordinal>" + "|".join(_ORDINALS) + r"|[1-4]\.|[1-4](?=er?\b|e\b))e?r?"
_Y = r"(?P<year>(?:19|20)\d\d)"
_D = r"(?P<day>0?[1-9]|[12]\d|3[01])"
_OF = r"(?:\s+(?:of|in|von|des|de|du))?(?:\s+(?:the|fiscal|year|jahres|l'année))*\s+"

Parts = Mapping[str, str | None]
_PATTERNS: tuple[tuple[PeriodUnit, str], ...] = (
    ("date", rf"(?<![\w.-]){_Y}-(?P<m>0[1-9]|1[0-2])-(?P<day>[0-2]\d|3[01])(?!\d|-\d)"),
    ("date", rf"(?<![\w.-]){_Y}[-/](?P<m>0[1-9]|1[0-2])(?!\d|-\d)"),
    ("date", rf"(?<![\w./])(?P<first>[0-3]?\d)(?P<separator>[./])(?P<second>[0-3]?\d)(?P=separator){_Y}(?!\d)"),
    ("date", rf"(?<![\w./-])(?P<m>0[1-9]|1[0-2])/{_Y}(?!\d)"),
    ("date", rf"(?<!\w){_D}(?:\.|st|nd|rd|th|er)?\s+(?:of\s+)?{_MONTH},?\s+{_Y}(?!\d)"),
    ("date", rf"\b{_MONTH}\s+{_D}(?:st|nd|rd|th)?,?\s+{_Y}(?!\d)"),
    ("date", rf"\b{_MONTH}(?:\s+of|\s+de)?[\s-]+{_Y}(?!\d)"),
    ("quarter", rf"\b[QT](?P<q>[1-4])(?:{_OF}|\s*[-/ ]?\s*){_Y}(?!\d)"),
    ("quarter", rf"(?<!\w){_Y}[-/ ]?\s?[QT](?P<q>[1-4])\b"),
    ("quarter", rf"(?<!\w){_ORDINAL}\s*(?:quarter|quartal\w?|trimestre)(?:{_OF}{_Y}(?!\d))?"),
    ("quarter", r"\bQ(?P<q>[1-4])\b"),
    ("date", rf"\bFY\s?{_Y}(?!\d)"),
    ("day", rf"(?<!\w){_D}(?:\.|st|nd|rd|th|er)?\s+(?:of\s+)?{_MONTH}"),
    ("day", rf"\b{_MONTH}\s+{_D}(?:st|nd|rd|th)?(?![\d.,:%]\d|\s?%|\d)"),
    ("time", r"(?<![\w:])(?P<hour>[01]?\d|2[0-3])[:h](?P<minute>[0-5]\d)(?::[0-5]\d)?(?![\w:])"),
)
_COMPILED: tuple[tuple[PeriodUnit, re.Pattern[str]], ...] = tuple(
    (unit, re.compile(pattern, re.IGNORECASE)) for unit, pattern in _PATTERNS
)


_HINT = re.compile(r"\d|quart|trimestre", re.IGNORECASE)


def periods(text: str) -> tuple[Period, ...]:
    """All dates, quarters and times of the text, in order; the fullest reading of each place wins."""
    found: list[Period] = []
    if _HINT.search(text) is None:  # most sentences; the patterns below cost 80 us
        return ()
    for unit, pattern in _COMPILED:
        for match in pattern.finditer(text):
            if any(match.start() < period.end and period.start < match.end() for period in found):
                continue
            parts = match.groupdict()
            digits, other = _numeric(parts) if "separator" in parts else (_digits(parts), None)
            if digits:
                period = Period(start=match.start(), end=match.end(), unit=unit, digits=digits, other=other)
                found.append(period)
    return tuple(sorted(found, key=lambda period: period.start))


def _quarter(digits: str) -> str:
    return str((int(digits[4:6]) + 2) // 3)


def _digits(parts: Parts) -> str:
    """Year, quarter, month, day, hour and minute, as far as the pattern has them."""
    name = (parts.get("month") or "").lower().rstrip(".")
    ordinal = (parts.get("ordinal") or "").lower()
    month = parts.get("m") or _MONTHS.get(name, "")
    quarter = parts.get("q") or _ORDINALS.get(ordinal, ordinal[:1])
    day, hour = ((parts.get(part) or "") for part in ("day", "hour"))
    two = "".join(part.zfill(2) for part in (day, hour) if part)
    return f"{parts.get('year') or ''}{quarter}{month}{two}{parts.get('minute') or ''}"


def _numeric(parts: Parts) -> tuple[str, str | None]:
    """Read 3.4.2026 as the day first, 3/4/2026 both ways, 13/4/2026 the one way it can be; empty if no way."""
    year, first, second = parts["year"] or "", (parts["first"] or "").zfill(2), (parts["second"] or "").zfill(2)
    day_first = year + second + first if "01" <= second <= "12" else ""
    month_first = year + first + second if "01" <= first <= "12" and parts["separator"] == "/" else ""
    if not day_first or not month_first or day_first == month_first:
        return day_first or month_first, None
    return day_first, month_first
