"""With an obedient model the bad prompts of the sample are refused by the shipped policy, and the better one passes."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from evaluation.answer_checks import check_answer
from evaluation.data.make.__main__ import SAMPLE
from evaluation.journal import QuestionRecord
from evaluation.relevance import Judgements, judge
from evaluation.summary import Summary, summarise
from evaluation.verdict import rule
from registry.datasets import GroundTruthRow, read_rows
from registry.insights import Passage
from registry.messages import CompletionRequest, Material
from registry.prompts.policy import load_policy
from registry.prompts.rendering import Value, call_key, render
from registry.prompts.schema import PromptTemplate, load_template
from serving.grounding import ground
from serving.providers.scripted import Scripted
from serving.retrieval import pack, room_chars
from tests.fakes.fake_insights import fake_insight
from tests.fakes.prompt_following_model import PromptFollowingModel

POLICIES = Path(__file__).parents[2] / "policies"
PASSAGE_CHARS = 700
"""So long is a passage of the sample: the quote that answers, and other words before it."""

Found = dict[str, tuple[Passage, ...]]


@pytest.fixture(scope="module")
def rows() -> list[GroundTruthRow]:
    """The questions for the verdict."""
    return [row for row in read_rows(SAMPLE / "ground_truth.jsonl") if row.split == "test"]


@pytest.fixture(scope="module")
def found(rows: list[GroundTruthRow]) -> Found:
    """What retrieval finds: the passages with evidence, the superseded ones first, as a bad day has it."""
    return {row.id: tuple(_passages(row)) for row in rows}


def _passages(row: GroundTruthRow) -> list[Passage]:
    ordered = sorted(row.relevant, key=lambda quote: quote.grade)
    return [
        Passage(
            id=f"{row.id}-{number}",
            document=quote.document,
            score=1.0,
            text=f"{'Other words. ' * ((PASSAGE_CHARS - len(quote.quote)) // 13)}\n\n{quote.quote}",
        )
        for number, quote in enumerate(ordered)
    ]


async def summary_of(name: str, rows: list[GroundTruthRow], found: Found) -> Summary:
    """All questions through one of the sample prompts: rendered, answered, grounded, checked."""
    template = load_template(SAMPLE / "prompts" / f"insights-{name}.yaml")
    judgements = await _judged(rows, found)
    model = Scripted(PromptFollowingModel(rows))
    records = [await _record(row, found[row.id], template, judgements, model) for row in rows]
    return summarise(rows, records, judgements)


async def _judged(rows: list[GroundTruthRow], found: Found) -> Judgements:
    qrels: dict[str, Any] = {}
    for row in rows:

        async def passages_of(document: str, row: GroundTruthRow = row) -> list[Passage]:
            return [passage for passage in found[row.id] if passage.document == document]

        qrels |= (await judge([row], passages_of)).qrels
    return Judgements(qrels=qrels, unresolved={})


async def _record(
    row: GroundTruthRow,
    found: tuple[Passage, ...],
    template: PromptTemplate,
    judgements: Judgements,
    model: Scripted,
) -> QuestionRecord:
    passages = pack(found[: template.model.top_k], room_chars(template))
    supplied: dict[str, Value] = {
        "question": row.question,
        "passages": passages,
        "metrics": row.metrics,
        "today": date(2026, 11, 23),
    }
    request = CompletionRequest(
        messages=render(
            template,
            {name: value for name, value in supplied.items() if name in template.variables},
            call_key(b"secret" * 6, row.id),
        ),
        max_output_tokens=template.model.max_output_tokens,
        output_schema=template.output_schema,
        material=Material(question=row.question, passages=passages, metrics=row.metrics),
    )
    text = (await model.complete(request)).text
    grounded = ground(text, passages, row.metrics, template.output_schema)
    insight = fake_insight(grounded.answer).model_copy(
        update={"claims": grounded.claims, "abstained": grounded.abstained}
    )
    checks = check_answer(row, insight, judgements.answering(row.id), template.instructions)
    ranked = tuple(passage.id for passage in passages)
    return QuestionRecord(id=row.id, status="scored", ranked=ranked, checks=checks)


async def verdict_on(name: str, rows: list[GroundTruthRow], found: Found) -> str:
    """What the shipped policy makes of a version with v1 in production."""
    policy = load_policy(POLICIES, "insights")
    asked = next(requirement for requirement in policy.requires if requirement.kind == "evaluation")
    candidate, production = await summary_of(name, rows, found), await summary_of("v1", rows, found)
    return rule(rows, candidate, production, floors=asked.floors, margin=asked.margin).verdict


@pytest.mark.parametrize("name", ["no-citations", "invites-guessing", "no-date-rule", "leaks-instructions"])
async def test_a_bad_prompt_fails(name: str, rows: list[GroundTruthRow], found: Found) -> None:
    """A model that follows the prompt answers so that the evaluation says FAIL."""
    assert await verdict_on(name, rows, found) == "FAIL"


async def test_a_slightly_bad_prompt_is_refused(rows: list[GroundTruthRow], found: Found) -> None:
    """One question lost in six of 32 clusters is too little to say FAIL, and no PASS."""
    assert await verdict_on("too-long", rows, found) == "UNDERPOWERED"


async def test_the_better_prompt_passes(rows: list[GroundTruthRow], found: Found) -> None:
    """With the same model the second version is no worse than the first, and enough was asked to say so."""
    assert await verdict_on("v2", rows, found) == "PASS"
