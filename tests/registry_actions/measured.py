"""What an evaluation of a version with a model leaves in the registry, as the flow does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from registry.database import Database
from registry.prompts.evaluations import DATASET_SHA256, EVALUATION, ID, MARGIN, QUESTIONS, TENANT
from registry.prompts.evidence import AGAINST, Evidence, evidence_for, record_evidence
from registry.prompts.promotion_records import last_proven
from registry.prompts.versions import PromotedVersion
from registry_actions.contents import ROWS
from registry_actions.model import MORE
from registry_actions.state import PRODUCTION


@dataclass(frozen=True, slots=True)
class Measured:
    """A version that is evaluated with a model."""

    version: PromotedVersion
    model: str
    database: Database
    clock: Callable[[], float]

    def keep(
        self,
        name: str,
        *,
        against: str,
        resumed: bool,
        passed: bool,
        data: str,
        rows: int,
        part: bool,
        questions: int,
        margin: float,
    ) -> None:
        """Store a verdict; a resumed evaluation goes on with the newest."""
        last = last_proven(self.database, self.version.name, PRODUCTION, int(self.clock() * 1000))
        rival = last.content_hash if last and against == PRODUCTION else None
        tenant = "north" if part else None
        details: dict[str, Any] = {ID: name, DATASET_SHA256: ROWS[rows], TENANT: tenant, QUESTIONS: questions}
        before = self._newest() if resumed else None
        if before is not None:
            details = {name: before.details[name] for name in details}
            details[QUESTIONS] += MORE
        record_evidence(
            self.database,
            kind=EVALUATION,
            prompt_name=self.version.name,
            prompt_version=self.version.version,
            content_hash=self.version.content_hash,
            provider="test",
            model=self.model,
            verdict="PASS" if passed else "FAIL",
            details=details | {AGAINST: rival, MARGIN: None if rival is None else margin},
            dataset=data if before is None else before.dataset,
            clock=self.clock,
        )

    def _newest(self) -> Evidence | None:
        found = evidence_for(self.database, self.version.name, self.version.content_hash, EVALUATION)
        return next((each for each in found if each.model == self.model), None)
