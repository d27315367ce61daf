"""What a loader returns, what it may use up, and how it says no."""

import re
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict

from registry.errors import InvalidInput

TITLE_CHARS_MAX: Final = 200
FIELD_CHARS_MAX: Final = 80
FIELDS: Final = ("date", "kind", "language")
_DATE = re.compile(r"[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?")
_IN_NAME = re.compile(r"(?<![0-9])((?:19|20)[0-9]{2})[-_](0[1-9]|1[0-2])(?:[-_](0[1-9]|[12][0-9]|3[01]))?(?![0-9])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


class DocumentProblem(InvalidInput):
    """A file cannot become a document; the sentence says why and what to do. The rest of the ingest goes on."""

    code = "document-problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """What one file may cost."""

    file_bytes_max: int = 20_000_000
    text_chars_max: int = 2_000_000
    """Characters after unpacking; some 10,000 passages."""
    pages_max: int = 500
    """Pages of a PDF."""
    seconds_max: float = 30.0
    """Wall clock; the worker is killed when it runs out."""
    memory_bytes_max: int = 1_000_000_000
    """Address space of the worker: what a packed stream may grow to."""


class Section(BaseModel):
    """A stretch of text under one heading; never split across passages with another."""

    model_config = ConfigDict(frozen=True)

    heading: str = ""
    """Path of headings above it, outermost first, joined by ` > `; empty at the top."""
    text: str


class LoadedDocument(BaseModel):
    """A file as text."""

    model_config = ConfigDict(frozen=True)

    title: str
    fields: dict[str, str] = {}
    """Of `date` (YYYY, YYYY-MM or YYYY-MM-DD), `kind` and `language`, those that are known."""
    sections: tuple[Section, ...]


def clean(text: str) -> str:
    """The text without control characters and with one kind of line end; words stay as they are."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str, chars_max: int) -> str:
    """The text on one line, cut at a length."""
    return " ".join(clean(text).split())[:chars_max]


def document(
    name: str, sections: list[Section], *, title: str = "", fields: dict[str, str] | None = None
) -> LoadedDocument:
    """Put a document together; what the file does not say itself is taken from its name.

    Raises:
        DocumentProblem: no text at all, or a date that is none.
    """
    kept = tuple(section for section in sections if section.text.strip())
    if not kept:
        raise DocumentProblem("holds no text")
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    known = {"kind": suffix.lower(), **_date_in(name)}
    for field in FIELDS:
        value = one_line((fields or {}).get(field, ""), FIELD_CHARS_MAX)
        if value:
            known[field] = value
    if "date" in known and not _DATE.fullmatch(known["date"]):
        raise DocumentProblem(f"its date {known['date']!r} is not YYYY, YYYY-MM or YYYY-MM-DD")
    if "language" in known:
        known["language"] = known["language"].lower()
    return LoadedDocument(title=one_line(title, TITLE_CHARS_MAX) or stem, fields=known, sections=kept)


def _date_in(name: str) -> dict[str, str]:
    found = _IN_NAME.search(name.rpartition("/")[2])
    return {"date": "-".join(part for part in found.groups() if part)} if found else {}
