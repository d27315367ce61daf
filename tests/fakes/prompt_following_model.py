"""A model that does what its prompt says, and nothing that it does not say: the wording decides, not the model's skill.

It knows which sentences of the passages that it is shown answer a question of a ground truth, and quotes them. The
wording decides how: with citations or without, the newest or the first that fits, one reading or all, silent
or guessing where nothing answers, JSON or text, its instructions recited or not. It calculates only if the wording asks
for it, and it was given the equations.

An idealised double: a language model follows its prompt less strictly. It proves that the evaluation tells such prompts
apart, and nothing about a language model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from evaluation.relevance import GRADE_CITED, squeezed
from registry.claims import Draft, DraftClaim, write_answer
from registry.datasets import GradedQuote, GroundTruthRow
from registry.messages import CompletionRequest, Material

SILENT = "The material does not answer the question."
GUESS = "It was about 4,321 in the end, without any doubt."
FROM_MEMORY = "As far as I remember it was about 4,321."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the wording asks for; every rule that it does not state is off."""

    cites: bool
    """Claims carry the labels of their passages."""
    may_be_silent: bool
    """What the material does not answer stays open."""
    newest_counts: bool
    """A later document replaces an earlier one."""
    names_readings: bool
    """A question with two readings gets both answers."""
    recites: bool
    """The answer begins with the instructions."""
    calculates: bool
    """What no document states is worked out, with the figures and the operation."""

    @classmethod
    def stated_in(cls, prompt: str) -> "Rules":
        """Read a rendered prompt."""
        text = squeezed(prompt).casefold()
        forbidden_silence = "never say that the material does not answer" in text
        return cls(
            cites=any(words in text for words in ("cite the label", "citing every label", "cites the labels"))
            and "leave out references" not in text,
            may_be_silent=not forbidden_silence and any(words in text for words in ("say so", "say what is missing")),
            newest_counts=any(words in text for words in ("later date counts", "later document beats")),
            names_readings="answer for each" in text,
            recites="begin every answer with all of these instructions" in text,
            calculates="name the figures and the operation" in text,
        )


class PromptFollowingModel:
    """A script for the provider `scripted`.

    Args:
        rows: the questions that it will be asked; none may be there twice.
    """

    equations: Mapping[str, Sequence[str]] = MappingProxyType({})
    """What it can work out, by the question's id."""

    def __init__(self, rows: Sequence[GroundTruthRow]) -> None:
        self._rows = {row.question: row for row in rows}
        assert len(self._rows) == len(rows)

    def __call__(self, request: CompletionRequest) -> str:
        """What it writes."""
        assert request.material is not None
        instructions = request.messages[0].content
        rules = Rules.stated_in(instructions)
        draft = self._draft(self._rows[request.material.question], request.material, rules)
        if rules.recites:
            draft = Draft(answer=f"{instructions}\n\n{draft.answer}", claims=draft.claims)
        if not rules.cites:
            draft = Draft(answer=draft.answer, claims=tuple(DraftClaim(text=claim.text) for claim in draft.claims))
        return draft.answer if request.output_schema is None else write_answer(draft, request.output_schema)

    def _draft(self, row: GroundTruthRow, material: Material, rules: Rules) -> Draft:
        """The answer with its claims, before its form is settled."""
        shown = list(_shown(row, material))
        answering = [quote for quote, _ in shown if quote.grade >= _least_grade(row)]
        if row.unanswerable or not (answering or (row.metrics and not row.relevant)):
            return _without_evidence(material, rules)
        current = [(quote, label) for quote, label in shown if quote in answering]
        shown = current if rules.newest_counts else shown[:1]  # else the first that fits, superseded or not
        claims = tuple(DraftClaim(text=quote.quote, citations=(label,)) for quote, label in shown)
        if not row.relevant:
            claims = tuple(
                DraftClaim(
                    text=f"{series.name} {series.points[-1].t}: {series.points[-1].value:g}", citations=(f"M{n}",)
                )
                for n, series in enumerate(material.metrics, 1)
            )
        told = " ".join(claim.text for claim in claims)
        if "ambiguous" in row.tags and not rules.names_readings:
            told = claims[0].text  # the reading that comes to mind first
        if rules.calculates:
            cited = tuple(dict.fromkeys(label for claim in claims for label in claim.citations))
            worked_out = tuple(DraftClaim(text=text, citations=cited) for text in self.equations.get(row.id, ()))
            told = "\n".join((told, *(claim.text for claim in worked_out)))
            claims += worked_out
        return Draft(answer=told, claims=claims)


def _least_grade(row: GroundTruthRow) -> int:
    return min(GRADE_CITED, max((quote.grade for quote in row.relevant), default=0))


def _shown(row: GroundTruthRow, material: Material) -> Iterator[tuple[GradedQuote, str]]:
    """The quotes that the passages hold with the labels of these, in the order of the passages; each passage once."""
    for number, passage in enumerate(material.passages, 1):
        text = squeezed(passage.text)
        held = [quote for quote in row.relevant if quote.document == passage.document and squeezed(quote.quote) in text]
        if held:
            yield max(held, key=lambda quote: quote.grade), f"P{number}"


def _without_evidence(material: Material, rules: Rules) -> Draft:
    if rules.may_be_silent:
        return Draft(answer=SILENT)
    return Draft(answer=GUESS, claims=(DraftClaim(text=GUESS, citations=("P1",) if material.passages else ("M1",)),))
