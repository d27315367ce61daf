"""Checks an answer against its evidence: each claim, its citations and every figure in it.

A claim is grounded when it cites something that exists, the cited sentences hold enough of its words
(`WORDS_SHARE_MIN`), say the same and not its opposite (negation, rising or falling), and every figure stands in them
or follows from them (`serving.figure_check`). What is not cited is not grounded. The check compares words, in one
language: it is a flag for readers and reviewers, not a proof of truth.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from registry.answer_member import well_formed
from registry.claims import (
    Draft,
    DraftClaim,
    citations_in,
    figures,
    read_answer,
    sentences,
    split_heading,
    takes_claims,
    without_marks,
)
from registry.errors import JsonValue
from registry.figures import Figure
from registry.insights import Claim, Evidence, MetricSeries, Passage
from serving.figure_agreement import stands_in
from serving.figure_check import FALLING, RISING, unsupported
from serving.stated_equations import written_out
from serving.words import content_words

WORDS_SHARE_MIN = 0.6
"""Share of a claim's content words that its quotes and their document's name have to hold."""
OPPOSITE_SHARE_MIN = 0.6
"""From this share of common words on, two sentences speak of the same thing, and a `not` in one of them matters."""
OPPOSITE_WORDS_MIN = 2
ROW_FIGURES_MIN = 2
QUOTES_MAX = 3
"""Quotes per cited source."""
QUOTE_CHARS_MAX = 600
LEAVES_MAX = 64
NO_ANSWER = "The model gave no answer."
_SCALED = re.compile(r"\bin (?P<scale>thousand|million|billion)s?\b|\b(?P<tausend>in tsd|in t€|teur)\b", re.IGNORECASE)
_SCALES = {"thousand": 3, "million": 6, "billion": 9}
COLUMN_UNIT_CHARS_MAX = 32
_COLUMN_UNIT = re.compile(r"\(([^()\n]+)\):\s*$")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|without|cannot|neither|nor|exclud\w*|except|nicht|kein\w*|ohne|nie|pas|aucun\w*|sans|jamais)\b|n't\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounded:
    """An answer with its checked claims."""

    answer: str
    """The text for the reader, without citation marks."""
    claims: list[Claim]
    abstained: bool
    """The answer says that the evidence does not answer the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One citable piece, cut into the sentences or readings that a quote is taken from."""

    kind: str
    id: str
    title: str
    """Words that hold for every sentence: the document's name and the passage's first line, or the metric's name."""
    lines: tuple[str, ...]
    power: int = 0
    """Power of ten that the source states for its table, e.g. 3 for `in thousands`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A sentence that may support a claim."""

    source: _Source
    text: str
    words: frozenset[str]
    figures: tuple[Figure, ...]


def ground(
    text: str,
    passages: Sequence[Passage],
    metrics: Sequence[MetricSeries],
    output_schema: Mapping[str, JsonValue] | None = None,
) -> Grounded:
    """Read a model's answer and check every claim; never raises on what a model wrote.

    `passages` and `metrics` stand in the order of their labels P1.. and M1... A figure in the answer that no claim
    carries becomes a claim of its own, so that it is flagged. Under an output schema other than the insights one,
    every value is a claim, and may be supported by any passage or metric.
    """
    sources = _sources(passages, metrics)
    draft = read_answer(text, chatter=output_schema is not None)
    if output_schema is not None and not takes_claims(output_schema):
        claims = tuple(DraftClaim(text=well_formed(leaf), citations=tuple(sources)) for leaf in _leaves(text))
        draft = Draft(answer=text, claims=claims)
    draft = _with_stray_figures(draft)
    cited = {label for claim in draft.claims for label in claim.citations}
    lines = {label: _lines(source) for label, source in sources.items() if label in cited}
    return Grounded(
        answer=draft.answer or " ".join(claim.text for claim in draft.claims) or NO_ANSWER,
        claims=[_check(claim, lines) for claim in draft.claims],
        abstained=draft.abstained or not (draft.answer or draft.claims),
    )


def _check(claim: DraftClaim, lines: Mapping[str, Sequence[_Line]]) -> Claim:
    cited = [lines[label] for label in claim.citations if label in lines]
    wanted = _wanted(claim.text)
    quoted = [line for source_lines in cited for line in _quotes(claim.text, wanted, source_lines)]
    evidence = [
        Evidence(
            kind="metric" if line.source.kind == "metric" else "passage",
            id=line.source.id,
            quote=line.text[:QUOTE_CHARS_MAX],
        )
        for line in quoted
    ]
    return Claim(text=claim.text, grounded=_holds(claim.text, wanted, quoted), evidence=evidence)


def _wanted(claim: str) -> frozenset[str]:
    """The claim's content words; its figures, with their scales and units, have their own check."""
    for figure in reversed(figures(claim)):
        claim = f"{claim[: figure.start]} {claim[figure.start + len(figure.text) :]}"
    return frozenset(word for word in content_words(claim) if not word.isdigit())


def _holds(claim: str, wanted: frozenset[str], quoted: Sequence[_Line]) -> bool:
    if not quoted:
        return False
    titles = frozenset(word for line in quoted for word in content_words(line.source.title))
    held = frozenset(word for line in quoted for word in line.words) | titles
    # A reading has no words but its name; the words around it say what it does, and the figures are checked.
    measured = any(line.source.kind == "metric" and line.words & wanted for line in quoted)
    if wanted and not measured and len(wanted & held) / len(wanted) < WORDS_SHARE_MIN:
        return False
    best = quoted[0]
    if _opposite(claim, wanted, best):
        return False
    known = [figure for line in quoted for figure in (*line.figures, *figures(_spaced(line.source.title)))]
    falling = any(FALLING.search(line.text) for line in quoted)
    return not unsupported(claim, known, falling=falling)


def _quotes(claim: str, wanted: frozenset[str], lines: Sequence[_Line]) -> list[_Line]:
    """The sentence that shares most with the claim, then those that carry its remaining figures."""
    if not lines:
        return []
    stated = figures(claim)
    stated = (*stated, *written_out(claim, stated))

    def shared(line: _Line) -> tuple[int, int]:
        carried = sum(stands_in(figure, claim, line.figures) for figure in stated)
        return carried + len(wanted & line.words), carried

    best = max(lines, key=shared)
    if shared(best)[0] == 0:
        return []
    chosen = [best]
    titles = frozenset(content_words(best.source.title))
    for _ in range(QUOTES_MAX - 1):
        known = [figure for line in chosen for figure in line.figures]
        found = {figure.start for figure in stated if stands_in(figure, claim, known)}
        missing = {figure.start for figure in unsupported(claim, known)} - found
        left = [figure for figure in stated if figure.start in missing]
        held = titles.union(*(line.words for line in chosen))
        lacking = wanted - held if len(wanted & held) < WORDS_SHARE_MIN * len(wanted) else frozenset[str]()

        def helps(line: _Line, left: Sequence[Figure] = left, lacking: frozenset[str] = lacking) -> int:
            on_topic = bool(line.words & wanted) or not wanted or line.source.kind == "metric"
            # A table's row has figures and no words: two of the claim's figures in it are no accident.
            on_topic = on_topic or shared(line)[1] >= ROW_FIGURES_MIN
            carried = sum(stands_in(figure, claim, line.figures) for figure in left)
            return len(lacking & line.words) + (carried if on_topic else 0)

        helper = max(lines, key=helps)
        if helps(helper) == 0:
            break
        chosen.append(helper)
    return chosen


def _opposite(claim: str, wanted: frozenset[str], line: _Line) -> bool:
    common = len(wanted & line.words)
    # A long sentence says several things; a `not` somewhere in it need not be about this claim.
    if common < OPPOSITE_WORDS_MIN or common < OPPOSITE_SHARE_MIN * max(len(wanted), len(line.words) / 2):
        return False
    if (_NEGATION.search(claim) is None) != (_NEGATION.search(line.text) is None):
        return True
    claim_moves = (RISING.search(claim) is not None, FALLING.search(claim) is not None)
    line_moves = (RISING.search(line.text) is not None, FALLING.search(line.text) is not None)
    return {claim_moves, line_moves} == {(True, False), (False, True)}


def _with_stray_figures(draft: Draft) -> Draft:
    """Claims for those sentences of the answer whose figures no claim carries."""
    carried = [figure for claim in draft.claims for figure in figures(claim.text)]
    # A claim that does not bear itself out, a false equation, is flagged as it is and needs no second one.
    doubtful = {figure.value for claim in draft.claims for figure in unsupported(claim.text, carried, falling=True)}
    stray = [
        DraftClaim(text=without_marks(sentence), citations=citations_in(sentence))
        for sentence in sentences(draft.answer)
        if any(figure.period is None for figure in figures(sentence))
        and any(figure.value not in doubtful for figure in unsupported(sentence, carried, falling=True))
    ]
    if not stray or (draft.abstained and not draft.claims and read_answer(draft.answer).abstained):
        return draft
    return replace(draft, claims=(*draft.claims, *stray), abstained=False)


def _sources(passages: Sequence[Passage], metrics: Sequence[MetricSeries]) -> dict[str, _Source]:
    found: dict[str, _Source] = {}
    for number, passage in enumerate(passages, 1):
        scale = _SCALED.search(passage.text)
        heading, body = split_heading(passage.text)
        power = 0 if scale is None else _SCALES.get((scale["scale"] or "thousand").lower(), 0)
        found[f"P{number}"] = _Source(
            kind="passage",
            id=passage.id,
            title=f"{passage.document} {heading}",
            lines=(*sentences(heading), *sentences(body)),
            power=power,
        )
    for number, metric in enumerate(metrics, 1):
        readings = tuple(f"{metric.name} {point.t}: {reading(point.value, metric.unit)}" for point in metric.points)
        found[f"M{number}"] = _Source(
            kind="metric", id=metric.name, title=f"{metric.name} {metric.unit}", lines=readings
        )
    return found


def reading(value: float, unit: str) -> str:
    """A metric's value as evidence quotes it: no needless decimals, its unit behind it."""
    return f"{value:.15g} {unit}".strip() if abs(value) < 1e15 else f"{value:g} {unit}".strip()  # noqa: PLR2004 - a float's digits


def _lines(source: _Source) -> list[_Line]:
    made: list[_Line] = []
    for text in source.lines:
        found = figures(text)
        found = (*found, *_of_columns(text, found))
        scaled = (
            replace(figure, value=figure.value.scaleb(source.power), other=None)
            for figure in found
            if figure.period is None
        )
        known = (*found, *scaled) if source.power else found
        made.append(_Line(source=source, text=text, words=frozenset(content_words(text)), figures=known))
    return made


def _of_columns(text: str, found: Sequence[Figure]) -> Iterator[Figure]:
    """Bare figures of a row in the unit of their column's name: €2,500 of `revenue (thousand EUR): 2.5`."""
    for figure in found:
        column = _COLUMN_UNIT.search(text, max(0, figure.start - COLUMN_UNIT_CHARS_MAX), figure.start)
        named = figures(f"1 {column[1]}") if column is not None and not figure.unit else ()
        if len(named) == 1 and named[0].unit and named[0].period is None:
            unit, power = named[0].unit, named[0].power
            value, step = figure.value.scaleb(power), figure.step.scaleb(power)
            yield replace(figure, value=value, step=step, other=None, power=power, unit=unit)


def _spaced(title: str) -> str:
    return title.replace("_", "-").replace("/", " / ")


def _leaves(text: str) -> list[str]:
    """`name: value` of every string and number in a JSON text; the text itself when it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return [text] if text.strip() else []
    found: list[str] = []
    pending: list[tuple[str, Any]] = [("", document)]
    while pending and len(found) < LEAVES_MAX:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending.extend(cast("dict[str, Any]", value).items())
        elif isinstance(value, list):
            pending.extend((name, item) for item in cast("list[Any]", value))
        elif value is not None and not isinstance(value, bool):
            found.append(f"{name.replace('_', ' ')}: {value}" if name else str(value))
    return found
