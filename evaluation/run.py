"""The harness: questions to a target, a few at a time, every answer checked and journalled.

* EvaluationStopped (Unavailable) - the target failed many times in a row; what was answered is kept for a resume
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from evaluation.answer_checks import check_answer
from evaluation.journal import Journal, QuestionRecord
from evaluation.relevance import Judgements
from registry.datasets import GroundTruthRow
from registry.errors import AssayError, Unavailable
from registry.insights import Insight, Question

logger = logging.getLogger(__name__)

Target = Callable[[Question], Awaitable[Insight]]
"""What is evaluated: it answers a question."""


class EvaluationStopped(Unavailable):
    """The target failed many times in a row."""

    code = "evaluation-stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast to ask and when to give up."""

    at_once: int = 8
    """Questions under way at the same time."""
    answer_timeout_s: float = 60.0
    failures_in_a_row_max: int = 10
    """After so many failures without an answer between them the run stops: the target is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands."""

    done: int
    total: int
    unscored: int


async def run(
    rows: Sequence[GroundTruthRow],
    target: Target,
    judgements: Judgements,
    journal: Journal,
    *,
    pace: Pace | None = None,
    instructions: str = "",
    on_progress: Callable[[Progress], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[QuestionRecord, ...]:
    """Ask every question that the journal has no score for; give the records of all, in the order of the rows.

    Args:
        rows: the questions.
        target: who answers.
        judgements: which passages answer which question.
        journal: keeps the records, and those of an earlier run with the same header.
        pace: how fast to ask and when to give up.
        instructions: fixed wording of the prompt, which no answer may repeat.
        on_progress: told after every question.
        clock: seconds, for how long an answer took.

    Raises:
        EvaluationStopped: when the target seems to be down.
    """
    pace = pace or Pace()
    waiting = [row for row in rows if not _scored(journal, row)]
    asking = iter(waiting)
    count = _Count(done=len(rows) - len(waiting), total=len(rows), on_progress=on_progress)

    async def worker() -> None:
        for row in asking:
            record = await _ask(row, target, judgements, instructions, pace.answer_timeout_s, clock)
            journal.append(record)
            count.add(record)
            if count.failures_in_a_row >= pace.failures_in_a_row_max:
                raise EvaluationStopped(
                    f"{count.failures_in_a_row} questions in a row got no answer; the last says: {record.problem}"
                )

    count.tell()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(pace.at_once, len(waiting))):
                group.create_task(worker())
    except* EvaluationStopped as stopped:
        raise stopped.exceptions[0] from None
    return tuple(journal.records[row.id] for row in rows)


@dataclass(slots=True, kw_only=True)
class _Count:
    """How far the workers of a run have come together."""

    done: int
    total: int
    on_progress: Callable[[Progress], None]
    unscored: int = 0
    failures_in_a_row: int = 0

    def add(self, record: QuestionRecord) -> None:
        """One more question has its record."""
        self.done += 1
        self.unscored += record.status == "unscored"
        self.failures_in_a_row = 0 if record.status == "scored" else self.failures_in_a_row + 1
        self.tell()

    def tell(self) -> None:
        """Where the run stands, to whoever wants to know."""
        self.on_progress(Progress(done=self.done, total=self.total, unscored=self.unscored))


def _scored(journal: Journal, row: GroundTruthRow) -> bool:
    record = journal.records.get(row.id)
    return record is not None and record.status == "scored"


async def _ask(
    row: GroundTruthRow,
    target: Target,
    judgements: Judgements,
    instructions: str,
    timeout_s: float,
    clock: Callable[[], float],
) -> QuestionRecord:
    """One question; whatever goes wrong becomes a record without a score."""
    started = clock()
    try:
        async with asyncio.timeout(timeout_s):
            insight = await target(row.as_question())
    except TimeoutError:
        return QuestionRecord(id=row.id, status="unscored", problem="no answer in time", seconds=clock() - started)
    except AssayError as error:
        problem = f"{error.code}: {error.message}"
        return QuestionRecord(id=row.id, status="unscored", problem=problem, seconds=clock() - started)
    except Exception as error:  # one broken answer must not lose the others; the type says where to look
        logger.exception("evaluation target failed", extra={"fields": {"question": row.id}})
        problem = f"internal-error: {type(error).__name__}"
        return QuestionRecord(id=row.id, status="unscored", problem=problem, seconds=clock() - started)
    if insight.status != "served":
        problem = f"the answer is {insight.status}"
        return QuestionRecord(id=row.id, status="unscored", problem=problem, seconds=clock() - started)
    return QuestionRecord(
        id=row.id,
        status="scored",
        answer=insight.answer,
        abstained=insight.abstained,
        insight=insight.id,
        provider=insight.provider.name,
        model=insight.provider.model,
        asked_model=insight.provider.asked_model or insight.provider.model,
        cost_usd=insight.cost_usd,
        seconds=clock() - started,
        ranked=tuple(passage.id for passage in insight.passages or ()),
        checks=check_answer(row, insight, judgements.answering(row.id), instructions),
    )
