"""What can be checked about an answer without a judge: its citations, figures, silence, and no word of its prompt.

Every check gives 1 or 0, or None where it does not apply. `answer_right` is 1 when all that apply are.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

from registry.datasets import ExpectedFigure, GroundTruthRow
from registry.figures import Figure, figures
from registry.insights import Insight

Checks = dict[str, float | None]

LEAKED_WORDS = 12
"""Words in a row that an answer shares with its instructions only by repeating them."""

_ALIASES = {"percent": "%", "percentage-points": "pp", "hours": "h", "minutes": "min", "seconds": "s", "days": "d"}
_SCALES: dict[str, tuple[str, Decimal]] = {
    **{unit: ("time", Decimal(s)) for unit, s in {"ms": "0.001", "s": 1, "min": 60, "h": 3600, "d": 86400}.items()},
    "week": ("time", Decimal(604_800)),
    "month": ("months", Decimal(1)),
    "year": ("months", Decimal(12)),
    **{unit: ("mass", Decimal(g)) for unit, g in {"g": 1, "kg": 1000, "t": 1_000_000}.items()},
    **{unit: ("length", Decimal(mm)) for unit, mm in {"mm": 1, "cm": 10, "km": 1_000_000}.items()},
    **{unit: ("data", Decimal(mb)) for unit, mb in {"MB": 1, "GB": 1000, "TB": 1_000_000}.items()},
    "kWh": ("energy", Decimal(1)),
    "MWh": ("energy", Decimal(1000)),
    "bp": ("pp", Decimal("0.01")),
}
"""Units of one dimension, each in the smallest one of its line."""


def check_answer(row: GroundTruthRow, insight: Insight, relevant: Collection[str], instructions: str = "") -> Checks:
    """All checks of one answer.

    Args:
        row: the question with its expectations.
        insight: the answer.
        relevant: ids of the passages that answer the question.
        instructions: fixed wording of the prompt, which no answer may repeat; empty when it is not known.
    """
    checks: Checks = {
        "abstention_right": float(insight.abstained == row.unanswerable),
        "citation_supports": None if row.unanswerable else _citation_supports(row, insight, relevant),
        "figure_right": _figure_right(row, insight) if row.figures else None,
        "instructions_kept": _instructions_kept(insight.answer or "", instructions) if instructions else None,
    }
    checks["answer_right"] = float(all(value == 1 for value in checks.values() if value is not None))
    claims = insight.claims or []
    checks["claims_grounded"] = sum(claim.grounded for claim in claims) / len(claims) if claims else None
    return checks


def _citation_supports(row: GroundTruthRow, insight: Insight, relevant: Collection[str]) -> float | None:
    """Some claim cites a passage that holds graded evidence, or a metric where metrics are the evidence."""
    cited = {(evidence.kind, evidence.id) for claim in insight.claims or [] for evidence in claim.evidence}
    sources = {("passage", key) for key in relevant}
    if not row.relevant:
        sources |= {("metric", series.name) for series in row.metrics}
    if not sources:
        return None  # nothing was graded, or no quote of it is among the passages
    return float(not insight.abstained and not cited.isdisjoint(sources))


def _figure_right(row: GroundTruthRow, insight: Insight) -> float:
    """Every expected figure stands in the answer."""
    if insight.abstained or not insight.answer:
        return 0.0
    stated = figures(insight.answer)
    return float(all(states(stated, expected) for expected in row.figures))


def _instructions_kept(answer: str, instructions: str) -> float:
    """The answer does not repeat its instructions."""
    return float(_runs(instructions).isdisjoint(_runs(answer)))


@lru_cache(maxsize=64)
def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """All runs of so many words, whatever stands between them."""
    words = re.findall(r"\w+", text.casefold())
    return frozenset(zip(*(words[start:] for start in range(LEAKED_WORDS)), strict=False))


def states(stated: Sequence[Figure], expected: ExpectedFigure) -> bool:
    """Whether one of the figures is the expected one, within its tolerance.

    Units of one dimension are converted («9 hours 40 minutes» is 580 min). A figure without a unit, or with one that
    we do not know («2,400 boxes»), fits any unit. A drop may be stated without its sign («fell by 5 %»).
    """
    value, tolerance = Decimal(str(expected.value)), Decimal(str(expected.tolerance))
    wanted = {value, abs(value)}
    readings = _readings(stated, _ALIASES.get(expected.unit, expected.unit))
    return any(abs(reading - goal) <= tolerance for reading in readings for goal in wanted)


def _readings(stated: Sequence[Figure], unit: str) -> Iterator[Decimal]:
    """What the figures say in the unit wanted."""
    dimension, factor = _SCALES.get(unit, (unit, Decimal(1)))
    for figure in stated:
        if figure.unit in {"", unit} or not unit:
            yield from figure.readings
        elif (scale := _SCALES.get(figure.unit)) is not None and scale[0] == dimension:
            yield from (reading * scale[1] / factor for reading in figure.readings)
    for first, second in pairwise(stated):  # 9 hours 40 minutes, 2 years 3 months
        large, small = _SCALES.get(first.unit), _SCALES.get(second.unit)
        if large and small and large[0] == small[0] == dimension and large[1] > small[1]:
            yield (first.value * large[1] + second.value * small[1]) / factor
