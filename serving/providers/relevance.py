"""How well a statement answers a question, by words alone: a score from 0 to 1.

The score is the share of the question's words that the statement says, each word weighted by how rare it is among the
statements (a word that occurs nowhere weighs most: the material does not speak of it). A word said only by the
heading, the document's name or the rest of the passage counts in part. To that come: word pairs in the same order, the
kind of answer that is asked for (a number, a date, a reason), the period that is asked for, and what is superseded.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from registry.figures import CURRENCIES, figures
from registry.periods import Period, periods
from serving.providers.candidates import Candidate
from serving.words import content_words

CONTEXT_WEIGHT = 0.6
"""What a question's word is worth that only the heading or the document's name says."""
NEAR_WEIGHT = 0.2
"""What it is worth when only the rest of the passage says it."""
PAIR_BONUS = 0.1
KIND_BONUS = 0.1
REASON_BONUS = 0.4
REASON_CONTEXT_WEIGHT = 0.7
"""A reason rarely repeats the question's words: for it the whole passage speaks."""
PERIOD_BONUS = 0.25
OTHER_PERIOD_PENALTY = 0.45
SUPERSEDED_PENALTY = 0.3
RANK_BONUS = 0.2
"""For the first passage, in the order only, not in the score: retrieval sees meaning where words do not."""
SHORT_WORDS = 4
"""A prose statement with fewer words is a heading or a label: it loses half."""

_ASKS_NUMBER = re.compile(
    r"\b(?:how (?:many|much|high|large|big|long|often|far|old|fast)|what (?:share|percentage|rate|number|amount)|"
    r"what price|cost|percent|by how|wie ?viele?|wie (?:hoch|lange|oft|groß)|combien|"
    r"quel(?:le)? (?:part|montant|prix))\b",
    re.IGNORECASE,
)
_ASKED_UNITS = tuple(
    (re.compile(pattern, re.IGNORECASE), frozenset(units.split()))
    for pattern, units in (
        (r"\b(?:how long|how old|how fast|wie lange|combien de temps|duration)\b", "ms s min h d week month year"),
        (r"\b(?:percent\w*|share|rate|prozent\w*|anteil|pourcentage|part)\b|%", "% pp"),
        (r"\b(?:how many days|wie viele tage|combien de jours)\b", "d"),
        (
            r"\b(?:price|costs?|pay|paid|spen[dt]|earn\w*|preis|kostet?|kosten|prix|coûte\w*)\b|[€$£]",
            " ".join(CURRENCIES),
        ),
    )
)
"""Units that an asked number should have, by the words that ask for it."""
_ASKS_DATE = re.compile(r"\b(?:when|since when|which (?:day|month|year|date)|wann|quand)\b", re.IGNORECASE)
_ASKS_REASON = re.compile(r"\b(?:why|reason|cause[ds]?|warum|wieso|weshalb|pourquoi)\b", re.IGNORECASE)
_GIVES_REASON = re.compile(
    r"\b(?:because|since|due to|caused?|reason|result of|owing|therefore|so that|led to|weil|wegen|"
    r"grund|denn|parce|cause)\b",
    re.IGNORECASE,
)
_SUPERSEDED = re.compile(
    r"\b(?:draft|superseded|replace[sd]|previously|formerly|no longer|first reported|preliminary|provisional|outdated|"
    r"originally|overstated|vorläufig|überholt|ersetzt|provisoire|remplacé)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A statement and how well it answers."""

    candidate: Candidate
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the question wants, read once."""

    weights: dict[str, float]
    pairs: frozenset[tuple[str, str]]
    number: bool
    date: bool
    reason: bool
    units: frozenset[str]
    """Units that the asked number may have; empty when any will do."""
    superseded: bool
    """The question itself speaks of what was replaced."""
    periods: tuple[Period, ...]

    @property
    def possible(self) -> float:
        """The score of a perfect statement."""
        bonus = (PAIR_BONUS if self.pairs else 0) + (PERIOD_BONUS if self.periods else 0)
        asks = KIND_BONUS if self.number or self.date else 0
        return 1 + bonus + (REASON_BONUS if self.reason else asks)


def best_first(question: str, statements: Sequence[Candidate]) -> list[Scored]:
    """All statements with their scores, the best first; equals keep their order."""
    asked = _read(question, statements)
    scored = [Scored(candidate=statement, score=_score(asked, statement)) for statement in statements]
    return sorted(scored, key=lambda item: -item.score - RANK_BONUS / (1 + item.candidate.passage))


def _read(question: str, statements: Sequence[Candidate]) -> _Asked:
    asked_periods = tuple(period for period in periods(question) if period.unit != "time")
    bare = question
    for period in asked_periods:  # periods are compared as such, whatever way they are written
        bare = bare.replace(question[period.start : period.end], " ")
    words = content_words(bare)
    seen = Counter(word for statement in statements for word in {*statement.words, *statement.context})
    weights = {word: math.log(1 + len(statements) / (0.5 + seen[word])) for word in words}
    return _Asked(
        weights=weights,
        pairs=frozenset(pairwise(words)),
        number=_ASKS_NUMBER.search(question) is not None,
        date=_ASKS_DATE.search(question) is not None,
        reason=_ASKS_REASON.search(question) is not None,
        units=frozenset[str]().union(*(units for pattern, units in _ASKED_UNITS if pattern.search(question))),
        superseded=_SUPERSEDED.search(question) is not None,
        periods=asked_periods,
    )


def _score(asked: _Asked, statement: Candidate) -> float:
    own = set(statement.words)
    total = sum(asked.weights.values())
    if not total:
        return 0.0
    gives_reason = asked.reason and _GIVES_REASON.search(statement.text) is not None
    said = sum(weight * _worth(word, own, statement, reason=gives_reason) for word, weight in asked.weights.items())
    if not gives_reason and not own & asked.weights.keys():
        said *= CONTEXT_WEIGHT  # on the topic, but does not speak of it itself
    score = said / total
    if asked.pairs:
        score += PAIR_BONUS * len(asked.pairs & set(pairwise(statement.words))) / len(asked.pairs)
    score += (REASON_BONUS if asked.reason else KIND_BONUS) * _is_kind(asked, statement)
    score += _period_match(asked, statement)
    if not asked.superseded and _SUPERSEDED.search(statement.text):
        score -= SUPERSEDED_PENALTY
    if statement.cell is None and len(statement.words) < SHORT_WORDS:
        score /= 2
    return max(score / asked.possible, 0.0)


def _worth(word: str, own: set[str], statement: Candidate, *, reason: bool) -> float:
    if word in own:
        return 1.0
    if reason:
        return REASON_CONTEXT_WEIGHT if word in statement.context or word in statement.near else 0.0
    if word in statement.context:
        return CONTEXT_WEIGHT
    return NEAR_WEIGHT if word in statement.near and statement.cell is None else 0.0


def _is_kind(asked: _Asked, statement: Candidate) -> float:
    """1 when the statement holds the kind of answer that is asked for, -1 when it lacks a number that is asked for."""
    if asked.reason:
        return float(_GIVES_REASON.search(statement.text) is not None)
    if asked.number:
        units = [figure.unit for figure in figures(statement.text) if figure.period is None]
        if not units:
            return -1.0
        return 1.0 if not asked.units or asked.units.intersection(units) else 0.0
    return float(asked.date and bool(statement.periods))


def _period_match(asked: _Asked, statement: Candidate) -> float:
    """Bonus for the asked period, penalty for another one; the statement's own periods go before its document's."""
    if not asked.periods:
        return 0.0
    for known in (statement.periods, statement.context_periods):
        if any(wanted.covers(period) or period.covers(wanted) for wanted in asked.periods for period in known):
            return PERIOD_BONUS
        if known and (statement.cell is not None or known is statement.context_periods):
            return -OTHER_PERIOD_PENALTY
    return 0.0
