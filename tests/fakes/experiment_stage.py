"""An experiment over a real registry: insights and feedback are written as serving would have written them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fakes.fake_clock import FakeClock
from sqlalchemy import insert

from registry.database import Database
from registry.errors import JsonValue
from registry.prompts.experiment_design import Arm, Design
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import Experiment
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import ServingModel
from registry.prompts.versions import PromotedVersion, PromptNotFound
from registry.schema import feedback, insights, vault_items, vault_keys

POLICY = Policy(use_case="insights", prompt="insights", requires=(Requirement(kind="lint"),))
MODEL = ServingModel(provider="scripted", model="scripted")


class ExperimentStage:
    """Starts experiments and lets units meet their arms, at a time that the test sets."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database = database
        self.clock = clock
        self.notes: list[tuple[str, Mapping[str, JsonValue]]] = []
        self.experiments = Experiments(database, self.note, clock=clock)
        self.promoter = Promoter(database, note=self.note, clock=clock)
        self.pointed: PromotedVersion | None = None
        """Where the alias points in MLflow."""
        self.mlflow_away = False
        self._rows = 0
        with database.write() as connection:
            key = {"id": "k", "tenant": "north", "subject_hash": "h", "wrapped_key": b"", "created_ms": 0}
            item = {"id": "v", "key": "k", "tenant": "north", "kind": "insight", "nonce": b"", "ciphertext": b""}
            connection.execute(insert(vault_keys).values(**key))
            connection.execute(insert(vault_items).values(**item, created_ms=0))

    def note(self, kind: str, body: Mapping[str, JsonValue]) -> None:
        """Stands in for the audit log."""
        self.notes.append((kind, body))

    def promote(self, version: PromotedVersion) -> None:
        """Let a version serve as production."""
        self.promoter.let_through(POLICY, version, [MODEL], "ada")
        self.pointed = version

    async def by_alias(self, name: str, alias: str) -> PromotedVersion:
        """Stands in for MLflow."""
        if self.mlflow_away:
            raise MlflowUnavailable("away")
        if self.pointed is None or (name, alias) != (POLICY.prompt, POLICY.alias):
            raise PromptNotFound("no such alias")
        return self.pointed

    async def number_under(self, name: str, alias: str) -> int | None:
        """Stands in for MLflow, too."""
        return (await self.by_alias(name, alias)).version

    def start(self, *versions: PromotedVersion, **more: Any) -> Experiment:
        """Start an experiment; the first version is the control."""
        design = design_of(*versions, **more)
        return self.experiments.start(POLICY, design, versions, promoter=self.promoter, models=[MODEL], by="ada")

    def meets(
        self,
        experiment: Experiment | None,
        arm: str | None,
        unit: str | None,
        *,
        said: tuple[int | None, bool | None] | None = None,
        **columns: Any,
    ) -> str:
        """A call of a unit, and what was said about it: (rating, accepted)."""
        return self.meet([{"experiment": experiment, "arm": arm, "unit": unit, "said": said, **columns}])[0]

    def meet(self, calls: list[dict[str, Any]]) -> list[str]:
        """Many calls in one transaction, a second apart."""
        rows: list[dict[str, Any]] = []
        words: list[dict[str, Any]] = []
        for call in calls:
            self._rows += 1
            self.clock.now += 1
            said, experiment = call.pop("said", None), call.pop("experiment", None)
            now_ms = int(self.clock.now * 1000)
            row = {
                "id": f"ins_{self._rows:08d}",
                "tenant": "north",
                "use_case": "insights",
                "status": "served",
                "billed_to": "tenant",
                "prompt_name": "insights",
                "prompt_version": 1,
                "provider": "scripted",
                "model": "scripted",
                "cost_nano_usd": 1_000_000,
                "vault_item": "v",
                "audit_log": "log",
                "audit_index": self._rows,
                "created_ms": now_ms,
                "experiment": experiment.id if experiment else None,
                "latency_ms": 500,
                "claims": 2,
                "claims_grounded": 2,
                "abstained": False,
                "input_tokens": 100,
                "output_tokens": 20,
                **call,
            }
            rows.append(row)
            if said is not None:
                word = {"id": f"fb_{self._rows}", "insight": row["id"], "tenant": row["tenant"], "created_ms": now_ms}
                first = {"first_rating": said[0], "first_accepted": said[1]}
                rated_ms, accepted_ms = (None if each is None else now_ms for each in said)
                told = {"rating": said[0], "rated_ms": rated_ms, "accepted": said[1], "accepted_ms": accepted_ms}
                words.append({**word, **first, **told})
        with self.database.write() as connection:
            connection.execute(insert(insights), rows)
            if words:
                connection.execute(insert(feedback), words)
        return [row["id"] for row in rows]


def design_of(*versions: PromotedVersion, weights: tuple[float, ...] = (), **more: Any) -> Design:
    """A design of these versions, the first one being the control."""
    names = ["control", *(f"v{version.version}" for version in versions[1:])]
    shares = weights or (1.0,) * len(versions)
    arms = tuple(
        Arm(name=name, version=version.version, content_hash=version.content_hash, weight=weight)
        for name, version, weight in zip(names, versions, shares, strict=True)
    )
    return Design(arms=arms, **more)


def fill(stage: ExperimentStage, experiment: Experiment, arm: str, values: Sequence[dict[str, Any]]) -> None:
    """Units of one arm, each with one call."""
    stage.meet(
        [
            {"experiment": experiment, "arm": arm, "unit": f"{arm}-{place}", **value}
            for place, value in enumerate(values)
        ]
    )


def accepted(share: float, units: int) -> list[dict[str, Any]]:
    """Units of which this share accepted, spread evenly."""
    said = np.diff(np.floor(np.arange(units + 1) * share + 1e-9)).astype(bool)
    return [{"said": (4, bool(word))} for word in said]
