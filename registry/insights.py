"""The question that comes in and the insight that goes out: the records of POST /v1/insights."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

QUESTION_CHARS_MAX = 4_000
METRICS_MAX = 16
POINTS_MAX = 1_000

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
"""Lower-case identifier of a tenant, use case or prompt."""

InsightStatus = Literal["served", "pending_review", "blocked"]


class Record(BaseModel):
    """A frozen record that refuses members it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MetricPoint(Record):
    """One reading of a metric."""

    t: Annotated[str, StringConstraints(min_length=4, max_length=40)] = Field(examples=["2026-09"])
    """Point in time or period, as the caller writes it."""
    value: float = Field(allow_inf_nan=False, examples=[1240.0])


class MetricSeries(Record):
    """A named series passed with the question, e.g. revenue by month."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)] = Field(examples=["signups"])
    unit: Annotated[str, StringConstraints(max_length=20)] = Field(default="", examples=["count"])
    points: Annotated[list[MetricPoint], Field(min_length=1, max_length=POINTS_MAX)]


class Range(Record):
    """A half-open or closed range over a declared field."""

    gte: float | str | None = None
    lte: float | str | None = None


FilterValue = str | int | float | list[str] | list[int] | Range


class Question(Record):
    """The body of POST /v1/insights."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=QUESTION_CHARS_MAX)]
    use_case: Name = "insights"
    metrics: Annotated[list[MetricSeries], Field(max_length=METRICS_MAX)] = []
    filters: Annotated[dict[str, FilterValue], Field(max_length=8)] = {}
    """Equality, membership or range over declared document fields; never the tenant."""
    subject: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """Whose data this is about; erasable as one."""
    session: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    max_cost_usd: Annotated[str, StringConstraints(pattern=r"^\d{1,9}(\.\d{1,9})?$")] | None = None
    deadline_s: Annotated[float, Field(gt=0, le=120)] | None = None
    stream: bool = False


class Passage(Record):
    """A piece of a tenant's document, as retrieved."""

    id: str
    """UUID of the point in the vector engine."""
    document: str
    """The document's name as given at ingest, relative, with forward slashes."""
    score: float
    """Fused retrieval score; higher is better, comparable within one answer only."""
    text: str


class Evidence(Record):
    """Where a claim stands."""

    kind: Literal["passage", "metric"]
    id: str
    """Passage id, or name of the metric."""
    quote: str
    """The words or the reading that support the claim."""


class Claim(Record):
    """One statement of an answer with what supports it."""

    text: str
    grounded: bool
    """True when every figure and enough of the words are found in the evidence."""
    evidence: list[Evidence] = []


class PromptRef(Record):
    """The prompt version that wrote an answer."""

    name: str
    version: int
    alias: str
    arm: str | None = None
    """The arm of an experiment that this caller was given; None: no experiment, or not in it."""
    experiment: str | None = None
    """Its id."""


class ProviderRef(Record):
    """Who answered."""

    name: str
    model: str
    """The model that answered, as the vendor names it."""
    asked_model: str = ""
    """The model that was asked for, as configured; empty in insights of earlier releases."""
    attempts: int = 1


class UsageRecord(Record):
    """Token counts in disjoint buckets; `reasoning` is a part of `output`."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0


class GuardrailEvent(Record):
    """What one guard said."""

    guard: str
    direction: Literal["input", "document", "output"]
    verdict: Literal["allow", "flag", "block"]
    code: str | None = None
    score: float | None = None


class AuditPosition(Record):
    """Where a call stands in the audit log."""

    log: str
    """Name of the log: one per process."""
    index: int
    """Position of the outcome entry, from 0."""


class Insight(Record):
    """A short, cited answer with everything needed to hold it to account."""

    id: str
    use_case: str
    status: InsightStatus
    answer: str | None
    """None while pending or blocked, except to a reviewer."""
    claims: list[Claim] | None
    passages: list[Passage] | None
    abstained: bool = False
    """True when the evidence did not answer the question and the answer says so."""
    prompt: PromptRef
    provider: ProviderRef
    usage: UsageRecord
    cost_usd: str
    """Decimal string, nine places."""
    guardrails: list[GuardrailEvent] = []
    audit: AuditPosition
    created_at: datetime
    ai_generated: Literal[True] = True
