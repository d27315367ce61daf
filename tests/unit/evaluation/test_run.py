"""The harness asks everything once, survives failures, and goes on where it stopped."""

import asyncio
from pathlib import Path

import pytest
from fakes.fake_insights import FakeTarget, fake_insight

from evaluation.journal import Journal, JournalMismatch, QuestionRecord
from evaluation.relevance import Judgements
from evaluation.run import EvaluationStopped, Pace, Progress, run
from registry.datasets import GroundTruthRow
from registry.errors import Unavailable
from registry.insights import Insight, Question

HEADER = {"dataset": "d", "prompt": "p/1"}


def rows(count: int) -> list[GroundTruthRow]:
    """Questions q0, q1, ... whose text is their id."""
    return [GroundTruthRow(id=f"q{n}", question=f"q{n}", split="dev") for n in range(count)]


def judged(count: int) -> Judgements:
    """No evidence for any of them."""
    return Judgements(qrels={f"q{n}": {} for n in range(count)}, unresolved={})


async def ask(path: Path, target: FakeTarget, count: int, pace: Pace | None = None) -> tuple[QuestionRecord, ...]:
    """Run over `count` questions with a journal at `path`."""
    with Journal(path / "j.jsonl", HEADER) as journal:
        return await run(rows(count), target, judged(count), journal, pace=pace, clock=lambda: 0.0)


async def test_records_come_in_the_order_of_the_rows(tmp_path: Path) -> None:
    """Whatever finishes first, the records stand as the questions do."""
    records = await ask(tmp_path, FakeTarget(lambda _: fake_insight(cites=["p"])), 20)
    assert [record.id for record in records] == [f"q{n}" for n in range(20)]
    assert records[0] == QuestionRecord(
        id="q0",
        status="scored",
        answer="There were 12 boxes.",
        insight="ins_1",
        provider="fake",
        model="fake-1",
        asked_model="fake-1",
        checks={
            "abstention_right": 1.0,
            "citation_supports": None,
            "figure_right": None,
            "instructions_kept": None,
            "answer_right": 1.0,
            "claims_grounded": 1.0,
        },
    )


async def test_no_more_than_allowed_are_under_way(tmp_path: Path) -> None:
    """The target never sees more questions at once than the pace says."""
    target = FakeTarget(lambda _: fake_insight())
    await ask(tmp_path, target, 30, Pace(at_once=3))
    assert target.at_once_max == 3


async def test_a_failure_is_unscored_and_costs_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error of ours, a bug and a held answer each leave one question unscored, with the reason; a bug is logged."""
    answers = {
        "q0": Unavailable("the engine is down"),
        "q1": KeyError("secret content"),
        "q2": fake_insight(status="blocked"),
        "q3": fake_insight(),
    }
    records = await ask(tmp_path, FakeTarget(answers), 4)
    assert [(record.status, record.problem) for record in records] == [
        ("unscored", "unavailable: the engine is down"),
        ("unscored", "internal-error: KeyError"),
        ("unscored", "the answer is blocked"),
        ("scored", None),
    ]
    assert [vars(record)["fields"] for record in caplog.records] == [{"question": "q1"}]


async def test_a_slow_answer_is_unscored(tmp_path: Path) -> None:
    """A question that takes too long is given up, not waited for."""

    async def never(_question: Question) -> Insight:
        await asyncio.Event().wait()
        raise AssertionError

    with Journal(tmp_path / "j.jsonl", HEADER) as journal:
        [record] = await run(rows(1), never, judged(1), journal, pace=Pace(answer_timeout_s=0.01))
    assert (record.status, record.problem) == ("unscored", "no answer in time")


async def test_a_dead_target_stops_the_run(tmp_path: Path) -> None:
    """After ten failures in a row nothing more is asked."""
    target = FakeTarget(lambda _: Unavailable("down"))
    with pytest.raises(EvaluationStopped, match="unavailable: down"):
        await ask(tmp_path, target, 100, Pace(at_once=1))
    assert len(target.asked) == 10


async def test_a_resume_asks_only_what_has_no_score(tmp_path: Path) -> None:
    """What was answered stays; what failed or was never asked is asked."""
    broken = FakeTarget({"q0": fake_insight("first"), "q1": Unavailable("down"), "q2": fake_insight("first")})
    await ask(tmp_path, broken, 3)
    whole = FakeTarget(lambda _: fake_insight("second"))
    records = await ask(tmp_path, whole, 4)
    assert whole.asked == ["q1", "q3"]
    assert [record.answer for record in records] == ["first", "second", "first", "second"]


async def test_progress_counts_up(tmp_path: Path) -> None:
    """Each answer is one step, and what a resume finds done counts from the start."""
    seen: list[Progress] = []
    await ask(tmp_path, FakeTarget(lambda _: fake_insight()), 1)
    with Journal(tmp_path / "j.jsonl", HEADER) as journal:
        await run(rows(3), FakeTarget(lambda _: Unavailable("x")), judged(3), journal, on_progress=seen.append)
    assert seen == [Progress(done=n, total=3, unscored=n - 1) for n in (1, 2, 3)]


async def test_a_line_cut_short_is_asked_again(tmp_path: Path) -> None:
    """A journal whose last line a crash tore loses that line only."""
    await ask(tmp_path, FakeTarget(lambda _: fake_insight("first")), 2)
    path = tmp_path / "j.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    target = FakeTarget(lambda _: fake_insight("second"))
    records = await ask(tmp_path, target, 2)
    assert [record.answer for record in records] == ["first", "second"]


@pytest.mark.parametrize("torn", [b"", b'{"dataset": "d", "pro'])
async def test_a_journal_torn_in_its_header_starts_anew(tmp_path: Path, torn: bytes) -> None:
    """A file that holds no whole line is as good as none."""
    (tmp_path / "j.jsonl").write_bytes(torn)
    records = await ask(tmp_path, FakeTarget(lambda _: fake_insight()), 1)
    assert records[0].status == "scored"


def test_another_evaluations_journal_is_refused(tmp_path: Path) -> None:
    """Going on with other rows or another prompt names what differs."""
    Journal(tmp_path / "j.jsonl", HEADER).close()
    with pytest.raises(JournalMismatch, match="differs in prompt"):
        Journal(tmp_path / "j.jsonl", {**HEADER, "prompt": "p/2"})


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """Some other file under the name is left as it is."""
    (tmp_path / "j.jsonl").write_text("hello\n")
    with pytest.raises(JournalMismatch, match="no journal"):
        Journal(tmp_path / "j.jsonl", HEADER)
    assert (tmp_path / "j.jsonl").read_text() == "hello\n"


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    """Resuming what is still running is refused."""
    with Journal(tmp_path / "j.jsonl", HEADER), pytest.raises(JournalMismatch, match="running elsewhere"):
        Journal(tmp_path / "j.jsonl", HEADER)
