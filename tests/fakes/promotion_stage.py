"""A promoter over a real database; MLflow's aliases and the audit log are lists of what they were told."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from fakes.fake_clock import FakeClock
from sqlalchemy import select

from registry.database import Database, upsert
from registry.errors import JsonValue
from registry.prompts.alias_move import promote
from registry.prompts.approvals import APPROVAL, WAIVER, Word, record_word
from registry.prompts.evidence import Evidence, record_evidence
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import Promotion, ServingModel
from registry.prompts.schema import ModelParameters, PromptTemplate, Turn, Variable, content_hash
from registry.prompts.versions import PromotedVersion
from registry.schema import promotions, prompt_hashes

EXTRACTIVE = ServingModel(provider="extractive", model="extractive-1")
CLAUDE = ServingModel(provider="anthropic", model="claude")
POLICY = Policy(
    use_case="insights",
    prompt="insights",
    requires=(
        Requirement(kind="lint"),
        Requirement(kind="evaluation", max_age_days=30, floors={"ndcg@10": 0.5}),
    ),
)


def version(user: str = "{{passages}} {{question}}", number: int = 1, **change: Any) -> PromotedVersion:
    """A sound version with changes."""
    template = PromptTemplate(
        name="insights",
        use_case="insights",
        owner="platform",
        template=(
            Turn(role="system", content="Answer from what stands between <data ...> and </data ...>."),
            Turn(role="user", content=user),
        ),
        variables={"question": Variable(max_chars=100), "passages": Variable(type="passages", max_chars=1000)},
        model=ModelParameters(max_output_tokens=300),
    ).model_copy(update=change)
    return PromotedVersion(
        name=template.name, version=number, alias="", template=template, content_hash=content_hash(template)
    )


def version_number(number: int) -> PromotedVersion:
    """A sound version whose content is this number's own."""
    return version(f"Case {number}. {{{{passages}}}} {{{{question}}}}", number)


class PromotionStage:
    """Evidence, words and moves for one promoter, at a time that the test sets."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database = database
        self.clock = clock
        self.moves: list[tuple[str, str, int]] = []
        self.notes: list[tuple[str, Mapping[str, JsonValue]]] = []
        self.fault: BaseException | None = None
        """What setting an alias ends with."""
        self.lost: Literal["request", "answer"] = "request"
        """Whether MLflow got the request that ended so."""
        self.unreadable: BaseException | None = None
        """What asking for an alias ends with."""
        self.promoter = Promoter(database, note=self.note, clock=clock)

    async def set_alias(self, name: str, alias: str, version: int) -> None:
        """Move an alias, as MLflow does."""
        assert self.notes, "the note has to be durable before the alias moves"
        if self.fault is None or self.lost == "answer":
            self.moves.append((name, alias, version))
        if self.fault is not None:
            raise self.fault

    async def alias_version(self, name: str, alias: str) -> int | None:
        """Where an alias points."""
        if self.unreadable is not None:
            raise self.unreadable
        return next((number for *place, number in reversed(self.moves) if place == [name, alias]), None)

    async def promote(
        self, about: PromotedVersion, *models: ServingModel, policy: Policy = POLICY, by: str = "ada"
    ) -> Promotion:
        """Move the alias with its record, as the command line does."""
        return await promote(self.promoter, self, policy, about, models or (EXTRACTIVE,), by)

    def let_through(self, about: PromotedVersion, *models: ServingModel, policy: Policy = POLICY) -> Promotion:
        """Write the record, as the gate does."""
        return self.promoter.let_through(policy, about, models or (EXTRACTIVE,), "ada")

    def note(self, kind: str, body: Mapping[str, JsonValue]) -> None:
        """Audit something."""
        json.dumps(body)
        self.notes.append((kind, body))

    def evaluated(self, about: PromotedVersion, model: ServingModel = EXTRACTIVE, **change: Any) -> Evidence:
        """Store an evaluation as the flow does; `against` is the version it was compared with."""
        against: PromotedVersion | None = change.pop("against", None)
        fields: dict[str, Any] = {
            "kind": "evaluation",
            "prompt_name": about.name,
            "prompt_version": about.version,
            "content_hash": about.content_hash,
            "provider": model.provider,
            "model": model.model,
            "verdict": "PASS",
            "details": {"metrics": {"ndcg@10": 0.8}, "against_content": against.content_hash if against else None},
            "run_id": "run",
            "dataset": "ground-truth",
            "clock": self.clock,
        }
        return record_evidence(self.database, **(fields | change))

    def wrote(self, about: PromotedVersion, author: str | None) -> None:
        """Have somebody known as a version's author, as the gate does."""
        row: dict[str, Any] = {
            "name": about.name,
            "version": about.version,
            "content_hash": about.content_hash,
            "first_seen_ms": 0,
            "author": author,
        }
        with self.database.write() as connection:
            upsert(connection, prompt_hashes, row)

    def approves(self, about: PromotedVersion, by: str, *, rejects: bool = False) -> Evidence:
        """Store somebody's word, as the API does."""
        word = Word(kind=APPROVAL, by=by, key=f"key-of-{by}", agrees=not rejects, reason="I read it")
        return record_word(self.database, about, word, clock=self.clock)

    def signs(self, about: PromotedVersion, by: str, hours: float) -> Evidence:
        """Store somebody's signature under a waiver, as the API does."""
        word = Word(kind=WAIVER, by=by, key=f"key-of-{by}", agrees=True, reason="an outage", hours=hours)
        return record_word(self.database, about, word, clock=self.clock)

    def records(self) -> list[Mapping[str, Any]]:
        """All promotion records, oldest first."""
        with self.database.read() as connection:
            chosen = select(promotions).order_by(promotions.c.created_ms)
            return [dict(row) for row in connection.execute(chosen).mappings()]

    def revoked(self) -> list[bool]:
        """Whether each record is revoked, oldest first."""
        return [record["revoked_ms"] is not None for record in self.records()]
