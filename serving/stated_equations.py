"""Reads the equations that a text states, such as `(50 - 40) / 40 = 25 %`; whether they are true is another question.

Operands are figures as `registry.figures` reads them, so that an equation is written as figures are: thousands,
currencies, scale words, units. Between them stand `+ - * / x`, their other marks and words, brackets, and `=`.
Whatever else stands there parts them: dates, identifiers, ranges and prose are no equations. An equation of which a
part cannot be read (`overhead + 40 = 90`) is none, rather than the part that can.

Time is linear in the text; `TOKENS_MAX`, `OPERANDS_MAX` and `EQUATIONS_MAX` bound what is kept.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from registry.figures import CURRENCIES, Figure
from serving.words import STOP_WORDS, stem

OPERANDS_MAX = 16
"""Figures of one equation, results included; more make a table, not a claim."""
TOKENS_MAX = 80
"""Figures, signs and brackets of one equation."""
EQUATIONS_MAX = 8
"""Equations of one text."""
SHARED_POWERS = (3, 6, 9)
"""Powers of ten that figures without a scale word may share with others."""
NOUN_WORDS_MAX = 2
"""Words for what an operand counts: `40 late parcels`."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A figure of the equation."""

    figure: Figure
    noun: str = ""
    """What it counts, stemmed: `driver` for `40 drivers`; empty if no word says so."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Two terms and what is done with them."""

    sign: str
    """One of `+ - * /`."""
    left: "Term"
    right: "Term"


Term = Operand | Operation


@dataclass(frozen=True, slots=True)
class Equation:
    """Terms that are said to be equal: two or more, of which one at least calculates."""

    sides: tuple[Term, ...]

    @property
    def terms(self) -> tuple[Operation, ...]:
        """The sides that calculate."""
        return tuple(side for side in self.sides if isinstance(side, Operation))

    @property
    def results(self) -> tuple[Operand, ...]:
        """The sides that are a figure."""
        return tuple(side for side in self.sides if isinstance(side, Operand))


_Token = Operand | str
"""An operand; a sign, `=`, `(` or `)`; a word; or one of the two breaks."""
_BREAK = "\x00"
_UNREADABLE = "\x01"
"""Something that an equation may go on with and that is not read here: `^`, `<`, an identifier."""
_PUNCTUATION = frozenset(",;.!?\"'…—|•[]{}«»“”„\u2018\u2019")
_SIGNS: dict[str, str] = {
    "+": "+",
    **dict.fromkeys("-\u2212\u2013", "-"),
    **dict.fromkeys("*\u00d7·⋅x", "*"),
    **dict.fromkeys("/÷", "/"),
    **dict.fromkeys(("minus", "moins"), "-"),
    "plus": "+",
    **dict.fromkeys(("times", "mal", "fois", "multiplied by", "multipliziert mit", "multiplié par"), "*"),
    **dict.fromkeys(("divided by", "geteilt durch", "divisé par"), "/"),
}
_EQUALS = ("=", "≈", "equals", "is equal to", "ergibt", "entspricht", "égale")
_RANKS = {"+": 1, "-": 1, "*": 2, "/": 2}
_HEDGES = frozenset({"~", "about", "around", "approximately", "roughly", "nearly", "ca", "circa", "rund", "etwa"})
_UNREAD_SCALES = frozenset({"hundred", "hundreds", "thousands", "dozen", "dozens", "lakh", "crore", "hundert"})
_OF = frozenset({"of", "von", "de"})
_HAS_EQUALS = re.compile("[=≈]|" + "|".join(rf"\b{word}\b" for word in _EQUALS[2:]), re.IGNORECASE)
_PHRASES = "|".join(re.escape(phrase) for phrase in (*_SIGNS, *_EQUALS) if " " in phrase)
_GAP = re.compile(rf"\*\*|\s:\s|\b(?:{_PHRASES})\b|\w+|[^\w\s]", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_MINUS = re.compile("[-\u2212\u2013]")
_OPERAND_FOLLOWS = re.compile(r"\s*(?:\(|(?:[€$£¥]|EUR|USD|GBP|CHF|JPY)?\s?\d)")


def stated_equations(text: str, stated: Sequence[Figure]) -> tuple[Equation, ...]:
    """All equations of the text, in order, over its figures; never raises.

    Args:
        text: a claim or a sentence.
        stated: `figures(text)`.
    """
    if _HAS_EQUALS.search(text) is None:
        return ()
    tokens = _resolved(list(_tokens(text, stated)))
    read = (_equation(run) for run in _runs(tokens))
    return tuple(islice((equation for equation in read if equation is not None), EQUATIONS_MAX))


def written_out(text: str, stated: Sequence[Figure]) -> tuple[Figure, ...]:
    """Operands without a scale word as they would be with one: 12,300, 12,300,000 and so on for the `12.3` of a sum."""
    operands = [
        operand.figure
        for equation in stated_equations(text, stated)
        for side in equation.terms
        for operand in operands_of(side)
        if not operand.figure.power and operand.figure.unit in {"", *CURRENCIES}
    ]
    return tuple(
        replace(figure, value=figure.value.scaleb(power), step=figure.step.scaleb(power), other=None, power=power)
        for figure in operands
        for power in SHARED_POWERS
    )


def operands_of(term: Term) -> Iterator[Operand]:
    """The figures of a term, in order."""
    if isinstance(term, Operand):
        yield term
    else:
        yield from operands_of(term.left)
        yield from operands_of(term.right)


def _tokens(text: str, stated: Sequence[Figure]) -> Iterator[_Token]:
    """Figures, and what stands between them."""
    end = 0
    before: _Token = _BREAK
    for figure in stated:
        if figure.start < end:
            continue
        for piece in _gap(text[end : figure.start]):
            yield (before := piece)
        end = figure.start + len(figure.text)
        operand = Operand(figure)
        if (isinstance(before, Operand) or before == ")") and _MINUS.match(figure.text):  # the `-10` of `40 -10`
            yield "-"
            operand = _negative(operand)
        if figure.unit == "x" and _OPERAND_FOLLOWS.match(text, end):  # the `3 x` of `3 x 1.5`
            yield Operand(replace(figure, unit=""))
            yield (before := "*")
        else:
            yield (before := operand if figure.period is None else _BREAK)
    yield from _gap(text[end:])


def _gap(text: str) -> Iterator[str]:
    for match in _GAP.finditer(text):
        piece = match.group().lower()
        if piece in _EQUALS:
            yield "="
        elif piece in _SIGNS:
            yield _SIGNS[piece]
        elif piece.strip() == ":":
            yield ":" if len(piece) > 1 else _BREAK
        elif piece in {"(", ")"} or piece in _HEDGES or piece.isalpha():
            yield piece
        elif piece != "**":  # bold
            yield _BREAK if piece in _PUNCTUATION else _UNREADABLE


def _negative(operand: Operand) -> Operand:
    figure = operand.figure
    other = None if figure.other is None else -figure.other
    return replace(operand, figure=replace(figure, value=-figure.value, other=other))


def _resolved(tokens: Sequence[_Token]) -> list[_Token]:
    """Operands take their own sign and the words for what they count; `12 % of`, `120 : 3` and hedges are settled."""
    resolved: list[_Token] = []
    position = 0
    while position < len(tokens):
        piece = tokens[position]
        position += 1
        before = resolved[-1] if resolved else _BREAK
        after = tokens[position] if position < len(tokens) else _BREAK
        if before == "=" and (piece == "+" or piece in _HEDGES):
            continue
        if isinstance(piece, Operand):
            if before == "-" and resolved[-2:-1] in (["="], ["("]):
                resolved.pop()
                piece = _negative(piece)
            piece, position = _counting(piece, tokens, position)
        elif piece in _OF and isinstance(before, Operand) and before.figure.unit == "%":
            piece = "*"
        elif piece == ":":
            divides = isinstance(before, Operand) and isinstance(after, Operand)
            divides = divides and tokens[position + 1 : position + 2] == ["="] and len(resolved) == 1
            piece = "/" if divides else _BREAK
        resolved.append(piece)
    return resolved


def _counting(operand: Operand, tokens: Sequence[_Token], position: int) -> tuple[Operand, int]:
    """The operand with its noun, and where the tokens go on: behind a noun if the equation does, else before it."""
    end = position
    while end < len(tokens) and end - position <= NOUN_WORDS_MAX:
        word = tokens[end]
        if not isinstance(word, str) or not word.isalpha() or word in STOP_WORDS or word in _HEDGES:
            break
        end += 1
    words = [stem(word) for word in tokens[position:end] if isinstance(word, str)]
    if not words:
        return operand, position
    if tokens[position] in _UNREAD_SCALES:
        return replace(operand, noun=_UNREADABLE), position
    follows = tokens[end] if end < len(tokens) else _BREAK
    if len(words) <= NOUN_WORDS_MAX and isinstance(follows, str) and (follows in _RANKS or follows in {"=", ")"}):
        return replace(operand, noun=" ".join(words)), end
    return replace(operand, noun=words[0]), position


def _runs(tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
    """The stretches that nothing parts, without those that go on where they cannot be read."""
    run: list[_Token] = []
    depth, sound, aside = 0, True, False
    for piece in (*tokens, _BREAK):
        term_before = bool(run) and (isinstance(run[-1], Operand) or run[-1] == ")")
        if piece == "(" and term_before:  # an aside, as in `EUR 90 (40 + 50 = 90)`, if it holds a whole equation
            if sound and not aside:
                yield run
            run, depth, sound, aside = [piece], 1, True, True
        elif isinstance(piece, Operand) or piece in _RANKS or piece in {"=", "("} or (piece == ")" and depth):
            sound = sound and not (isinstance(piece, Operand) and term_before) and len(run) < TOKENS_MAX
            if piece == "=":
                sound = sound and not (aside and not depth) and run[:depth] == ["("] * depth
                run, depth, aside = run[depth:] if sound else [], 0, False
            run.append(piece)
            depth += (piece == "(") - (piece == ")")
            run = run if sound else []
        else:
            if sound and not aside and piece != _UNREADABLE:
                yield run
            run, depth, sound, aside = [], 0, piece != _UNREADABLE, False


def _equation(run: Sequence[_Token]) -> Equation | None:
    """The equation that a stretch is; None if it is none or cannot be read as a whole."""
    run = run[1:] if run[:1] == ["="] else run
    run = run[:-1] if run[-1:] in (["="], ["/"]) else run  # `= 40 / depot`
    sides: list[list[_Token]] = [[]]
    for piece in run:
        if piece == "=":
            sides.append([])
        else:
            sides[-1].append(piece)
    if len(sides[0]) == 1 and isinstance(year := sides[0][0], Operand) and _YEAR.fullmatch(year.figure.text):
        sides = sides[1:]  # `Revenue 2025 = 40 + 10 = 50`
    operands = [piece for piece in run if isinstance(piece, Operand)]
    if len(sides) == 1 or len(operands) > OPERANDS_MAX or any(operand.noun == _UNREADABLE for operand in operands):
        return None
    terms = [term for term in map(_term, sides) if term is not None]
    equation = Equation(tuple(terms))
    return equation if len(terms) == len(sides) and equation.terms else None


def _term(pieces: Sequence[_Token]) -> Term | None:
    """Read one side by precedence (Dijkstra 1961, the shunting yard); None if it is no term."""
    terms: list[Term] = []
    signs: list[str] = []
    wanted = True
    for piece in pieces:
        if wanted != (isinstance(piece, Operand) or piece == "(") or (piece == ")" and "(" not in signs):
            return None
        if isinstance(piece, Operand):
            terms.append(piece)
        elif piece == "(":
            signs.append(piece)
        else:
            _apply(terms, signs, rank=_RANKS.get(piece, 0))
            if piece == ")":
                signs.pop()
            else:
                signs.append(piece)
        wanted = isinstance(piece, str) and piece != ")"
    if wanted or "(" in signs:
        return None
    _apply(terms, signs, rank=0)
    return terms[0]


def _apply(terms: list[Term], signs: list[str], *, rank: int) -> None:
    """Settle what binds as strongly as the next sign, back to the last open bracket."""
    while signs and signs[-1] != "(" and _RANKS[signs[-1]] >= rank:
        right, left = terms.pop(), terms.pop()
        terms.append(Operation(signs.pop(), left, right))
