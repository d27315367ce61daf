"""From graded quotes to relevant passages, at run time, so that grades outlive a splitter.

A passage is relevant when it is of the quote's document and contains the quote; white space does not count.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from registry.datasets import GroundTruthRow
from registry.insights import Passage

PassagesOf = Callable[[str], Awaitable[Sequence[Passage]]]
"""All passages of one document of the tenant; none when there is no such document."""

DOCUMENTS_AT_ONCE = 8
GRADE_CITED = 2
"""Below it a passage only touches the question, or holds a figure that was corrected since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgements:
    """Which passages answer which question."""

    qrels: Mapping[str, Mapping[str, int]]
    """Question id -> passage id -> grade. A question without evidence, or with none found, has no entries."""
    unresolved: Mapping[str, tuple[str, ...]]
    """Question id -> documents of quotes that no passage contains: not ingested, changed, or cut in two."""

    def answering(self, question: str) -> frozenset[str]:
        """Passages good enough to be cited: grade 2 and above, or the best there is when none is."""
        grades = self.qrels[question]
        enough = min(GRADE_CITED, max(grades.values(), default=0))
        return frozenset(key for key, grade in grades.items() if grade >= enough)

    @property
    def sha256(self) -> str:
        """Identity of the judgements; it changes when documents are ingested anew with other passages."""
        ordered = json.dumps(self.qrels, sort_keys=True)
        return hashlib.sha256(ordered.encode()).hexdigest()


async def judge(rows: Sequence[GroundTruthRow], passages_of: PassagesOf) -> Judgements:
    """Resolve every quote of the rows; each document is fetched once."""
    documents = sorted({quote.document for row in rows for quote in row.relevant})
    gate = asyncio.Semaphore(DOCUMENTS_AT_ONCE)

    async def fetch(document: str) -> list[tuple[str, str]]:
        async with gate:
            return [(passage.id, squeezed(passage.text)) for passage in await passages_of(document)]

    passages = dict(zip(documents, await asyncio.gather(*map(fetch, documents)), strict=True))
    qrels: dict[str, dict[str, int]] = {}
    unresolved: dict[str, tuple[str, ...]] = {}
    for row in rows:
        grades: dict[str, int] = {}
        missing: list[str] = []
        for quote in row.relevant:
            wanted = squeezed(quote.quote)
            holding = [key for key, text in passages[quote.document] if wanted in text]
            for key in holding:
                grades[key] = max(quote.grade, grades.get(key, 0))
            if not holding:
                missing.append(quote.document)
        qrels[row.id] = grades
        if missing:
            unresolved[row.id] = tuple(missing)
    return Judgements(qrels=qrels, unresolved=unresolved)


def squeezed(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())
