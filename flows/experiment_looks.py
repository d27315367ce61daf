"""Looks at experiments: ends those that are over, and writes their MLflow runs."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flows.experiment_analysis import DAY_MS, Assessment, assess
from flows.experiment_report import WATCHER, decision, run_report
from flows.prompt_places import Aliases, place_of
from registry.alarms import Note
from registry.audit.log import LogUnavailable
from registry.database import Database, DatabaseUnavailable
from registry.errors import AssayError, Conflict
from registry.prompts.experiment_lifecycle import Experiments, note_run
from registry.prompts.experiments import (
    RUNNING,
    Experiment,
    list_experiments,
    running_experiments,
    unreadable_experiments,
)
from registry.prompts.policy import Policy
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


async def look_at_all(
    database: Database,
    aliases: Aliases,
    policies: Mapping[str, Policy],
    note: Note,
    clock: Callable[[], float] = time.time,
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
            look = await look_at(database, aliases, experiment, policies, clock)
            if look.ending is not None:
                over = look.ending
                reached = decision(look, over.outcome, over.arm, over.reason, WATCHER)
                after = await asyncio.to_thread(store.end, experiment, reached, WATCHER)
                if after is None:  # somebody stopped it meanwhile
                    continue
                look = await look_at(database, aliases, after, policies, clock)
                ended.append(look)
        except (DatabaseUnavailable, LogUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the others may do harm
            failed[experiment.id] = error
            continue
        seen.append(look)
    return Looks(seen=tuple(seen), ended=tuple(ended), failed=failed)


async def look_at(
    database: Database,
    aliases: Aliases,
    experiment: Experiment,
    policies: Mapping[str, Policy],
    clock: Callable[[], float] = time.time,
) -> Assessment:
    """Assess one experiment.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    serving = None
    if experiment.status == RUNNING:
        serving = await _serving(database, aliases, experiment, policies.get(experiment.use_case), int(clock() * 1000))
    return await asyncio.to_thread(assess, database, experiment, serving, clock)


async def _serving(
    database: Database, aliases: Aliases, experiment: Experiment, policy: Policy | None, now_ms: int
) -> str | None:
    """The content that serves where the control has to; None: nothing does, or there is no such use case any more.

    While MLflow cannot be asked, serving goes on with what it has, and so does the experiment.
    """
    if policy is None:
        return None
    try:
        place = await place_of(aliases, database, policy, now_ms)
    except DatabaseUnavailable:
        raise
    except AssayError:  # MLflow is away; a move meanwhile is seen by a later look
        return experiment.design.arms[0].content_hash
    return place.record and place.record.content_hash


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
