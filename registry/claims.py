"""Claims out of an answer: reads what a model wrote, and writes an answer in the same two forms.

An answer is either the JSON document `{"answer": str, "claims": [{"text": str, "citations": ["P1", "M1"]}]}`, where
no claims means that the model abstains, or plain text whose sentences carry marks such as `[P1]` or `[P1, M2]`.
Reading never raises: whatever a model wrote becomes some draft, and what is not cited stays uncited.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from registry.answer_member import AnswerMember, well_formed
from registry.errors import JsonValue
from registry.figures import Figure, figures

__all__ = [
    "MARKS",
    "OPENING",
    "SPACE",
    "TEXT_CHARS_MAX",
    "Draft",
    "DraftClaim",
    "Figure",
    "citations_in",
    "figures",
    "is_row",
    "read_answer",
    "sentences",
    "split_heading",
    "takes_claims",
    "without_marks",
    "write_answer",
]

CLAIMS_MAX = 32
"""Claims read from one answer; what follows is not an insight but a document."""
TEXT_CHARS_MAX = 200_000
"""Characters of an answer that are looked at."""
HEADING_CHARS_MAX = 200
WRAPPED_CHARS_MIN = 60
"""A shorter line was ended on purpose: a heading, a list item, a verse of a letter's head."""

_MARK = r"\[\s*([PM]\d{1,3}(?:\s*[,;]\s*[PM]\d{1,3})*)\s*\]"
MARKS = re.compile(rf"\s?{_MARK}", re.IGNORECASE)
OPENING = re.compile(r"\s*(?:```[a-zA-Z]*\s*)?\{")
"""How an answer begins that is nothing but a document."""
_LABEL = re.compile(r"[PM]\d{1,3}", re.IGNORECASE)
_DECODER = json.JSONDecoder(strict=False)
"""Takes line ends inside strings: small models write them."""
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
SPACE = re.compile(r"[ \t\u00a0\u202f]+")
_ABBREVIATIONS = re.compile(
    r"(?:\b(?:[A-Za-z]|e\.g|i\.e|z\.B|d\.h|u\.a|no|nr|ca|approx|vs|dr|mr|mrs|ms|prof|st|inc|ltd|co|corp|dept|fig|"
    r"mio|mrd|tsd|bzw|usw|abs|art|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|okt|dez)\.)$",
    re.IGNORECASE,
)
_END = re.compile(r"[.!?…]+[\"'”\u2019»)\]]*(?:\s?\[[PM\d,; ]+\])*(?=\s|$)|\n+", re.IGNORECASE)
_BLANK = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_CELL = re.compile(r"[^:\n]{1,80}: \S")
_STARTS_LINE = re.compile(r"[ \t]*(?:[-*•|#]|\d{1,2}[.)]\s)")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
_ABSTAINS = re.compile(
    r"\b(?:(?:do|does|did)(?: not|n't) (?:contain|answer|say|state|mention|provide|include|give|cover)"
    r"|(?:can(?:no|')t|can not|unable to|not able to) (?:be )?(?:answer|determine|find|say|tell|help|assist|provide)\w*"
    r"|(?:no|not enough|insufficient) (?:information|evidence|data|answer)"
    r"|don't know|do not know|not (?:stated|given|found|available) in|kein\w* (?:angabe|antwort|information)\w*"
    r"|nicht (?:beantwort|enthalten|genannt)\w*|pas (?:de réponse|d'information|mentionné)\w*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftClaim:
    """One statement as the model wrote it, not yet checked."""

    text: str
    """The statement, without citation marks."""
    citations: tuple[str, ...] = ()
    """Labels such as `P1` (first passage) or `M2` (second metric), upper case, each once, not yet resolved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer as the model wrote it."""

    answer: str
    """The text for the reader, without citation marks."""
    claims: tuple[DraftClaim, ...] = ()
    abstained: bool = False
    """The model says that it cannot answer: no claims in JSON, or a plain text that says so without any mark."""


def read_answer(text: str, *, chatter: bool = True) -> Draft:
    """Read a model's answer in either form, tolerating fences; never raises.

    A document that breaks off, or is broken behind its answer, still gives the answer as far as it goes.

    Args:
        text: what the model wrote.
        chatter: a document counts also when other words stand before it; not where plain text was asked for.
    """
    text = text[:TEXT_CHARS_MAX]
    begins = text.find("{")
    if begins < 0 or not (chatter or OPENING.match(text)):
        return _read_text(text)
    member = AnswerMember()
    answer = member.feed(text[begins:])
    document = _document(text, answer if member.found else None)
    if document is None:
        return _read_text(text)
    answer = answer if member.found else document.get("answer")
    listed = document.get("claims")
    claims = tuple(filter(None, map(_claim, cast("list[Any]", listed)))) if isinstance(listed, list) else ()
    answer = answer if isinstance(answer, str) else " ".join(claim.text for claim in claims)
    plain = without_marks(well_formed(answer))
    if "claims" not in document:
        return replace(_read_text(answer), answer=plain)  # its marks, if any, stand in the text
    return Draft(answer=plain, claims=claims[:CLAIMS_MAX], abstained=not claims)


def write_answer(draft: Draft, schema: Mapping[str, JsonValue] | None) -> str:
    """Write a draft as the JSON document, or as marked plain text when `schema` is None."""
    if schema is not None:
        claims = [{"text": claim.text, "citations": list(claim.citations)} for claim in draft.claims]
        return json.dumps({"answer": draft.answer, "claims": claims}, ensure_ascii=False)
    if not draft.claims:
        return draft.answer
    return " ".join(_marked(claim) for claim in draft.claims)


def takes_claims(schema: Mapping[str, JsonValue] | None) -> bool:
    """Whether an output schema is the insights one: an object with `answer` and `claims`."""
    properties = schema.get("properties") if schema is not None else None
    return isinstance(properties, dict) and {"answer", "claims"} <= properties.keys()


def citations_in(text: str) -> tuple[str, ...]:
    """Labels of all marks in the text, in order, each once, upper case."""
    labels = (label.upper() for mark in MARKS.finditer(text) for label in _LABEL.findall(mark.group(1)))
    return tuple(dict.fromkeys(labels))


def without_marks(text: str) -> str:
    """The text without its citation marks."""
    return MARKS.sub("", text).strip()


def sentences(text: str) -> tuple[str, ...]:
    """Split text into sentences, list items and table rows: verbatim pieces without surrounding white space.

    A line that was only wrapped goes on. A block of `column: value` lines is one piece, a row. Marks after a full stop
    stay with their sentence. Decimal points and common abbreviations end nothing.
    """
    return tuple(piece for block in _BLANK.split(text) for piece in _pieces(block))


def split_heading(passage: str) -> tuple[str, str]:
    """A passage's first line that says where it stands (title, headings), empty if there is none, and the rest."""
    first, blank, rest = passage.partition("\n\n")
    return (first, rest) if blank and "\n" not in first and len(first) <= HEADING_CHARS_MAX else ("", passage)


def is_row(text: str) -> bool:
    """Whether a piece is a table row, written as `column: value` lines."""
    lines = text.strip().split("\n")
    return len(lines) > 1 and all(_CELL.match(line) for line in lines)


def _pieces(block: str) -> Iterator[str]:
    if is_row(block):
        yield block.strip()
        return
    start = 0
    for end in _END.finditer(block):
        if end.group().startswith(".") and _ABBREVIATIONS.search(block, max(start, end.start() - 12), end.start() + 1):
            continue
        if end.group().startswith("\n") and _is_wrap(block, start, end):
            continue
        if piece := block[start : end.end()].strip():
            yield piece
        start = end.end()
    if piece := block[start:].strip():
        yield piece


def _is_wrap(block: str, start: int, end: re.Match[str]) -> bool:
    """Whether a line break only wraps a long line of prose."""
    line = block[block.rfind("\n", 0, end.start()) + 1 : end.start()]
    prose = len(line) >= WRAPPED_CHARS_MIN and not block[start : end.start()].lstrip().startswith(("|", "#"))
    return prose and not _STARTS_LINE.match(block, end.end())


def _read_text(text: str) -> Draft:
    claims: list[DraftClaim] = []
    for sentence in sentences(text):
        plain = without_marks(_BULLET.sub("", sentence))
        if any(letter.isalnum() for letter in plain):
            claims.append(DraftClaim(text=plain, citations=citations_in(sentence)))
    abstained = not any(claim.citations for claim in claims) and _ABSTAINS.search(text) is not None
    if abstained:
        claims = []
    answer = without_marks(SPACE.sub(" ", text))
    return Draft(answer=answer, claims=tuple(claims[:CLAIMS_MAX]), abstained=abstained)


def _document(text: str, answer: str | None) -> dict[str, Any] | None:
    """The JSON object of the answer: the first one in the text, else one in a fenced block.

    Args:
        text: holds a `{`.
        answer: the member of the first object, if it was found; then no other object is looked for.
    """
    fenced = _FENCE.search(text) if answer is None else None
    for candidate in (text[text.find("{") :], fenced.group(1).strip() if fenced else ""):
        try:
            value, _ = _DECODER.raw_decode(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and ("answer" in value or "claims" in value):
            return cast("dict[str, Any]", value)
    return None if answer is None else {"answer": answer}


def _claim(item: Any) -> DraftClaim | None:
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, dict):
        return None
    fields = cast("dict[str, Any]", item)
    text = fields.get("text")
    if not isinstance(text, str) or not text.strip():
        return None
    cited = fields.get("citations")
    given = cast("list[Any]", cited) if isinstance(cited, list) else [cited]
    labels = [label.upper() for entry in given if isinstance(entry, str) for label in _LABEL.findall(entry)]
    return DraftClaim(
        text=without_marks(well_formed(text)), citations=tuple(dict.fromkeys([*labels, *citations_in(text)]))
    )


def _marked(claim: DraftClaim) -> str:
    if not claim.citations:
        return claim.text
    body, end = (claim.text[:-1], claim.text[-1]) if claim.text.endswith((".", "!", "?")) else (claim.text, ".")
    return f"{body} [{', '.join(claim.citations)}]{end}"
