"""Looks at experiments: ends those that are over, and writes their MLflow runs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flows.experiment_analysis import DAY_MS, Assessment, assess
from flows.experiment_report import WATCHER, decision, run_report
from registry.alarms import Note
from registry.audit.log import LogUnavailable
from registry.database import Database, DatabaseUnavailable
from registry.errors import Conflict
from registry.prompts.experiment_lifecycle import Experiments, note_run
from registry.prompts.experiments import (
    Experiment,
    list_experiments,
    running_experiments,
    unreadable_experiments,
)
from registry.prompts.policy import Policy
from registry.prompts.promotion_records import valid_promotions
from registry.runs import LoggedRun, RunReport

RUN_WITHIN_MS = 14 * DAY_MS
"""So long after its end an experiment still gets its MLflow run, should MLflow have been away."""

Log = Callable[[RunReport], LoggedRun]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What one look at all experiments found."""

    seen: tuple[Assessment, ...]
    """Running ones and those that were just ended, as they stand now."""
    ended: tuple[Assessment, ...]
    """Those that this look ended."""
    failed: Mapping[str, Exception] = field(default_factory=dict[str, Exception])
    """Ids of those that could not be read or looked at, and why: a fault of one keeps no other in harm's way."""


def look_at_all(
    database: Database, policies: Mapping[str, Policy], note: Note, clock: Callable[[], float] = time.time
) -> Looks:
    """Assess what runs, and end what is over; one that cannot be looked at does not keep the others going.

    Raises:
        DatabaseUnavailable: the database does not answer.
        LogUnavailable: the audit log cannot be written; what was not ended yet goes on.
    """
    store = Experiments(database, note, clock=clock)
    seen: list[Assessment] = []
    ended: list[Assessment] = []
    failed: dict[str, Exception] = {
        row.id: Conflict(row.sentence) for row in unreadable_experiments(database) if not row.is_over
    }
    for experiment in running_experiments(database):
        try:
            look = look_at(database, experiment, policies, clock)
            if look.ending is not None:
                over = look.ending
                reached = decision(look, over.outcome, over.arm, over.reason, WATCHER)
                after = store.end(experiment, reached, WATCHER)
                if after is None:  # somebody stopped it meanwhile
                    continue
                look = assess(database, after, _production_hash(database, after, policies, clock), clock)
                ended.append(look)
        except (DatabaseUnavailable, LogUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the others may do harm
            failed[experiment.id] = error
            continue
        seen.append(look)
    return Looks(seen=tuple(seen), ended=tuple(ended), failed=failed)


def look_at(
    database: Database, experiment: Experiment, policies: Mapping[str, Policy], clock: Callable[[], float] = time.time
) -> Assessment:
    """Assess one experiment.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    return assess(database, experiment, _production_hash(database, experiment, policies, clock), clock)


def _production_hash(
    database: Database, experiment: Experiment, policies: Mapping[str, Policy], clock: Callable[[], float]
) -> str | None:
    """The content that the use case's alias was last let through with; None: nothing may serve, or no such use case.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    policy = policies.get(experiment.use_case)
    if policy is None:
        return None
    valid = valid_promotions(database, experiment.prompt_name, policy.alias, int(clock() * 1000))
    return valid[0].content_hash if valid else None


def write_runs(database: Database, log: Log, clock: Callable[[], float] = time.time) -> tuple[LoggedRun, ...]:
    """Write the MLflow run of every experiment that ended of late and has none.

    Raises:
        DatabaseUnavailable: the database does not answer.
        RunsUnavailable: MLflow does not take a run; the next look tries again.
    """
    written: list[LoggedRun] = []
    now_ms = int(clock() * 1000)
    for experiment in list_experiments(database):
        fresh = experiment.ended_ms is not None and experiment.ended_ms >= now_ms - RUN_WITHIN_MS
        if fresh and "run" not in (experiment.decision or {}):
            look = assess(database, experiment, None, clock)
            run = log(run_report(database, look))
            note_run(database, experiment, {"id": run.id, "url": run.url})
            written.append(run)
    return tuple(written)
