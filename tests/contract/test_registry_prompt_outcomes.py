"""What came of each prompt version's calls, summed by day, on SQLite and on PostgreSQL alike."""

from datetime import timedelta

import pytest
from recorded_calls import DAY_START_MS, NOON, RecordedCalls

from registry.database import Database
from registry.feedback import Feedback
from registry.insights import PromptRef
from registry.prompt_outcomes import VersionOutcomes, newest_evaluations, read_outcomes
from registry.prompts.evidence import Verdict, record_evidence
from registry.prompts.promoted import PromptHashes
from registry.prompts.schema import content_hash, parse_template
from registry.prompts.versions import PromotedVersion
from registry.rollups import DAY_MS

pytestmark = pytest.mark.contract


@pytest.fixture
def calls(registry: Database, acme: str) -> RecordedCalls:
    """A tenant whose calls are written."""
    assert acme == "acme"
    return RecordedCalls(registry)


def outcomes(registry: Database) -> tuple[VersionOutcomes, ...]:
    """Everything that was written."""
    return read_outcomes(registry, 0, DAY_START_MS + 10 * DAY_MS)


def test_the_calls_of_a_day_are_summed(registry: Database, calls: RecordedCalls) -> None:
    """Counts, claims, tokens, money and latencies of one version on one day stand in one line."""
    calls.add()
    calls.add(abstained=True, claims=[], seconds=3.21)
    calls.add(status="blocked", claims=None, answer=None)
    (line,) = outcomes(registry)
    assert (line.name, line.version, line.day_ms) == ("insights", 1, DAY_START_MS)
    assert (line.calls, line.blocked, line.abstained) == (3, 1, 1)
    assert (line.claims, line.grounded, line.calls_with_claims) == (2, 1, 1)
    assert (line.means["input_tokens"].total, line.means["output_tokens"].total) == (45, 12)
    assert line.means["cost_nano_usd"].total == 15e9
    assert line.means["cost_nano_usd"].squares == pytest.approx(75e18)
    assert line.latencies == {100: 1, 3_300: 1}


def test_versions_and_days_stand_apart(registry: Database, calls: RecordedCalls) -> None:
    """Each version has a line for each of its days, the oldest day first."""
    calls.add()
    calls.add(version=2)
    calls.add(created_at=NOON - timedelta(days=1))
    assert [(line.day_ms, line.version, line.calls) for line in outcomes(registry)] == [
        (DAY_START_MS - DAY_MS, 1, 1),
        (DAY_START_MS, 1, 1),
        (DAY_START_MS, 2, 1),
    ]


def test_evaluations_do_not_count(registry: Database, calls: RecordedCalls) -> None:
    """RecordedCalls at the platform's own expense say nothing about use."""
    calls.add(billed_to="evaluation")
    assert outcomes(registry) == ()


def test_feedback_counts_on_the_day_of_its_call(registry: Database, calls: RecordedCalls) -> None:
    """Ratings and acceptances are joined to their calls; a call nobody spoke of has none."""
    for said in (Feedback(rating=5, accepted=True), Feedback(rating=2, accepted=False), Feedback(rating=4)):
        calls.feedback.give(calls.add(), "acme", said, lambda _body: None)
    calls.feedback.give(calls.add(), "acme", Feedback(accepted=True), lambda _body: None)
    calls.add()
    (line,) = outcomes(registry)
    assert (line.calls, line.accepted, line.accepted_told, line.told) == (5, 2, 3, 4)
    assert (line.means["rating"].n, line.means["rating"].total, line.means["rating"].squares) == (3, 11, 45)


@pytest.mark.parametrize(("ms", "rounded"), [(0, 0), (200, 200), (201, 210), (2_001, 2_100), (20_001, 21_000)])
def test_latencies_are_rounded_up_by_little(registry: Database, calls: RecordedCalls, ms: int, rounded: int) -> None:
    """A day has hundreds of different latencies, however many calls; none is more than 5 % off."""
    calls.add(seconds=ms / 1000)
    (line,) = outcomes(registry)
    assert line.latencies == {rounded: 1}


def test_one_prompt_is_read_alone(registry: Database, calls: RecordedCalls) -> None:
    """The outcomes of a prompt leave out the others."""
    calls.add()
    calls.add(prompt=PromptRef(name="briefs", version=7, alias="production"))
    assert [line.name for line in read_outcomes(registry, 0, DAY_START_MS + DAY_MS)] == ["briefs", "insights"]
    assert [line.version for line in read_outcomes(registry, 0, DAY_START_MS + DAY_MS, "briefs")] == [7]


def test_the_newest_evaluation_with_each_model_counts(registry: Database) -> None:
    """Of several with one model the last; a version without any, or that nobody has seen, has none."""
    text = "{name: insights, use_case: insights, owner: platform, template: 'Answer {{question}}.'}"
    template = parse_template(text)
    sha256 = content_hash(template)
    hashes = PromptHashes(registry)
    for version in (1, 2):
        hashes.require_unchanged(
            PromotedVersion(name="insights", version=version, alias="", template=template, content_hash=sha256)
        )
    told: list[tuple[str, Verdict, str]] = [
        ("evaluation", "FAIL", "a"),
        ("evaluation", "PASS", "b"),
        ("evaluation", "PASS", "a"),
        ("lint", "PASS", "a"),
    ]
    for second, (kind, verdict, model) in enumerate(told):
        record_evidence(
            registry,
            kind=kind,
            prompt_name="insights",
            prompt_version=1,
            content_hash=sha256,
            provider="openai",
            model=model,
            verdict=verdict,
            details={},
            clock=lambda at=second: float(at),
        )
    found = newest_evaluations(registry, "insights", [1, 2, 3])
    assert {number: [(each.model, each.verdict) for each in evaluations] for number, evaluations in found.items()} == {
        1: [("a", "PASS"), ("b", "PASS")],
        2: [("a", "PASS"), ("b", "PASS")],  # the same content
    }
