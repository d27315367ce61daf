"""Starts and ends experiments.

Starting one needs for every arm what production needs: the policy's evidence, or a waiver. Ending one moves no alias:
every unit goes back to the production version, and promoting a winner passes the gate like any other promotion.

* ExperimentRunning (Conflict) - the prompt has a running one; one at a time, so that arms stay comparable
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import update

from registry.alarms import Note
from registry.database import Database, insert_or_ignore
from registry.errors import AssayError, Conflict, InvalidInput, JsonValue, Refused
from registry.prompts.experiment_design import Design
from registry.prompts.experiments import (
    ENDED,
    RUNNING,
    Experiment,
    UnreadableExperiment,
    common_models,
    running_experiments,
)
from registry.prompts.policy import Policy
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import Promotion, ServingModel
from registry.prompts.versions import PromotedVersion
from registry.schema import experiments as table
from registry.schema import promotions
from registry.signals import bump_signal


class ExperimentRunning(Conflict):
    """The prompt has a running experiment already."""

    code = "experiment-running"


class Experiments:
    """Starts and ends experiments, each change in the audit log.

    Args:
        database: the registry.
        note: writes to the audit log.
        clock: seconds since the epoch.
        new_id: ids of experiments.
    """

    def __init__(
        self,
        database: Database,
        note: Note,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: f"exp_{secrets.token_hex(8)}",
    ) -> None:
        self._database = database
        self._note = note
        self._clock = clock
        self._new_id = new_id

    def start(
        self,
        policy: Policy,
        design: Design,
        versions: Sequence[PromotedVersion],
        *,
        promoter: Promoter,
        models: Sequence[ServingModel],
        by: str,
    ) -> Experiment:
        """Let every arm serve its share of the units from now on.

        Args:
            policy: of the prompt's use case.
            design: see there.
            versions: one for each arm of the design, in its order.
            promoter: makes the promotion records of the arms.
            models: the chain that serves, in order.
            by: who starts it.

        Raises:
            ExperimentRunning: this prompt has one already.
            PromotionRefused: an arm lacks its evidence; nothing was started.
            Refused: no model has the evidence for every arm.
            DatabaseUnavailable: the database does not answer.
            LogUnavailable: the audit log cannot be written; nothing was started.
        """
        _require_fit(policy, versions, design)
        if running_experiments(self._database, policy.prompt):
            raise _running(policy.prompt)
        experiment = self._begun(policy, design, by)
        records: list[Promotion] = []
        try:
            for version in versions:
                record = promoter.admit_arm(policy, version, models, experiment.id, by)
                records.append(record)  # one by one: those before a refused one are taken back
            _require_common_model(records)
            self._insert(experiment)
        except AssayError:
            for record in records:
                promoter.take_back(record)
            raise
        bump_signal(self._database, PROMPTS_SIGNAL, self._clock)
        return experiment

    def end(self, experiment: Experiment, decision: Mapping[str, JsonValue], by: str) -> Experiment | None:
        """End a running experiment with its arms' records; None when it was ended before. No alias moves.

        Raises:
            DatabaseUnavailable: the database does not answer; it runs on.
            LogUnavailable: the audit log cannot be written; it runs on.
        """
        now_ms = self._now_ms()
        if not self._end(experiment, decision, by, now_ms):
            return None
        return replace(experiment, status=ENDED, decision=decision, ended_ms=now_ms)

    def end_unreadable(self, row: UnreadableExperiment, decision: Mapping[str, JsonValue], by: str) -> bool:
        """End what cannot be read, with whatever records its arms have; False when it was ended before.

        Raises:
            DatabaseUnavailable: the database does not answer; it is as it was.
            LogUnavailable: the audit log cannot be written; it is as it was.
        """
        return self._end(row, decision, by, self._now_ms())

    def _begun(self, policy: Policy, design: Design, by: str) -> Experiment:
        return Experiment(
            id=self._new_id(),
            prompt_name=policy.prompt,
            use_case=policy.use_case,
            status=RUNNING,
            design=design,
            decision=None,
            created_by=by,
            created_ms=self._now_ms(),
            ended_ms=None,
        )

    def _end(
        self, one: Experiment | UnreadableExperiment, decision: Mapping[str, JsonValue], by: str, now_ms: int
    ) -> bool:
        values = {"status": ENDED, "decision": _json(decision), "ended_ms": now_ms}
        unended = update(table).where(table.c.id == one.id, table.c.status != ENDED)
        arms = update(promotions).where(promotions.c.alias == one.alias, promotions.c.revoked_ms.is_(None))
        with self._database.write() as connection:
            if connection.execute(unended.values(**values).returning(table.c.id)).first() is None:
                return False
            connection.execute(arms.values(revoked_ms=now_ms))
            body: dict[str, JsonValue] = {"experiment": one.id, "prompt": one.prompt_name, "by": by}
            self._note("experiment.ended", {**body, "outcome": decision.get("outcome"), "arm": decision.get("arm")})
        bump_signal(self._database, PROMPTS_SIGNAL, self._clock)
        return True

    def _insert(self, experiment: Experiment) -> None:
        row: dict[str, Any] = {
            "id": experiment.id,
            "prompt_name": experiment.prompt_name,
            "use_case": experiment.use_case,
            "status": experiment.status,
            "design": experiment.design.model_dump_json(),
            "created_by": experiment.created_by,
            "created_ms": experiment.created_ms,
        }
        with self._database.write() as connection:
            if not insert_or_ignore(connection, table, row):
                raise _running(experiment.prompt_name)
            body: dict[str, JsonValue] = {
                "experiment": experiment.id,
                "prompt": experiment.prompt_name,
                "by": experiment.created_by,
                "design": experiment.design.model_dump(mode="json"),
            }
            self._note("experiment.started", body)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def note_run(database: Database, experiment: Experiment, run: Mapping[str, JsonValue]) -> None:
    """Remember with the decision which MLflow run shows it.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    decision = {**(experiment.decision or {}), "run": dict(run)}
    with database.write() as connection:
        connection.execute(update(table).where(table.c.id == experiment.id).values(decision=_json(decision)))


def _require_fit(policy: Policy, versions: Sequence[PromotedVersion], design: Design) -> None:
    wanted = [(policy.prompt, arm.version, arm.content_hash) for arm in design.arms]
    if wanted != [(version.name, version.version, version.content_hash) for version in versions]:
        raise InvalidInput(f"the arms of the design are not these versions of prompt {policy.prompt!r}")


def _require_common_model(records: Sequence[Promotion]) -> None:
    if not common_models(records):
        proven = "; ".join(
            f"version {record.prompt_version}: {', '.join(f'{each.provider} {each.model}' for each in record.models)}"
            for record in records
        )
        raise Refused(f"no model has the evidence for every arm ({proven}); evaluate them with one and the same")


def _running(prompt_name: str) -> ExperimentRunning:
    return ExperimentRunning(
        f"prompt {prompt_name!r} has a running experiment; stop it first (see `assay experiments status {prompt_name}`)"
    )


def _json(document: Mapping[str, JsonValue]) -> str:
    return json.dumps(dict(document), sort_keys=True, ensure_ascii=False, allow_nan=False)
