"""The arms of running experiments: who asks in whose name gets which version, as far as this process may serve it.

An experiment is live in a process only while every one of its arms has a valid record and its text is at hand, and
production still is its control: one missing arm would leave the others to be compared with nothing, and whoever
promotes another version wants it to serve. Else everybody gets production, and counts for no arm. An
experiment whose row cannot be read opens an alarm.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from registry.alarms import Note
from registry.audit.log import LogUnavailable
from registry.database import Database, DatabaseUnavailable
from registry.errors import AssayError, Unavailable
from registry.prompts.assignment import chosen, draw
from registry.prompts.experiments import Experiment, common_models, unended_experiments
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion_records import Promotion, valid_promotion
from registry.prompts.versions import PromotedVersion
from registry.signals import read_signal
from serving.call_log import Call
from serving.experiment_alarms import ExperimentAlarms
from serving.metrics import Metrics
from serving.second_lock import Served, serves

logger = logging.getLogger(__name__)

FOLLOW_S = 1.0
REREAD_S = 10.0
"""How often records are read again though no signal came: somebody may have edited the database."""
HOUR_MS = 3_600_000


class ArmStore(Protocol):
    """Where the texts of arms come from (`registry.prompts.promoted.PromotedPrompts`)."""

    async def of_record(self, record: Promotion) -> PromotedVersion:
        """The version that a record names: from disk, else from MLflow."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An experiment that this process serves."""

    experiment: Experiment
    arms: tuple[Served, ...]
    """In the order of the design: the control first."""
    weights: tuple[float, ...]

    def open_to(self, call: Call, production: Served, now_ms: int) -> bool:
        """Whether this call may get an arm instead of the production version."""
        return (
            call.tenant not in self.experiment.design.excluded
            and production.version.content_hash == self.arms[0].version.content_hash
            and all(arm.in_force(now_ms) for arm in self.arms)
        )

    def share(self, now_ms: int) -> float:
        """Share of the units that takes part by now."""
        return self.experiment.design.share_at((now_ms - self.experiment.created_ms) / HOUR_MS)


class Arms:
    """Gives every unit its arm, always the same one.

    Args:
        store: texts of versions.
        database: experiments and promotion records.
        key: of the assignment, as `registry.prompts.assignment.assignment_key` makes it.
        hashed: keyed hash of a tenant's subject.
        metrics: are told which arms this process serves.
        note: writes to the audit log.
        clock: seconds since the epoch.
        sleep: waits between two looks.
    """

    def __init__(
        self,
        store: ArmStore,
        database: Database,
        *,
        key: bytes,
        hashed: Callable[[str, str], str],
        metrics: Metrics,
        note: Note,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._database = database
        self._key = key
        self._hashed = hashed
        self._metrics = metrics
        self._alarms = ExperimentAlarms(database, note, clock)
        self._clock = clock
        self._sleep = sleep
        self._live: dict[str, Live] = {}
        """By use case."""
        self._troubles: dict[str, str] = {}
        """Experiment -> code of what keeps it from being served; each is told once."""

    def choose(self, production: Served, call: Call) -> Served:
        """The arm that the call's unit gets, or the production version: also for a call in nobody's name."""
        unit = call.unit(self._hashed)
        if unit is None:
            return production
        now_ms = self._now_ms()
        live = self._live.get(call.question.use_case)
        if live is not None and live.open_to(call, production, now_ms):
            draws = draw(self._key, live.experiment.id, unit)
            if draws.exposure < live.share(now_ms):
                return replace(live.arms[chosen(live.weights, draws.arm)], unit=unit)
        return replace(production, unit=unit)

    async def refresh(self) -> bool:
        """Read what runs and may serve; False when a text could not be had and should be tried again.

        Raises:
            DatabaseUnavailable: nobody knows; what is live stays so until a record ends.
        """
        live, troubles, complete = dict[str, Live](), dict[str, str](), True
        unended = await asyncio.to_thread(unended_experiments, self._database)
        for experiment in (each for each in unended if isinstance(each, Experiment)):
            try:
                found = await self._load(experiment)
            except DatabaseUnavailable:
                raise
            except AssayError as error:
                troubles[experiment.id] = error.code
                complete = complete and not isinstance(error, Unavailable)  # else only a person can mend it
                continue
            if found is not None:
                live[experiment.use_case] = found
        self._tell(live, troubles)
        self._settle(live)
        self._troubles = troubles
        unreadable = [each for each in unended if not isinstance(each, Experiment)]
        with suppress(LogUnavailable):  # no call is answered then, and the next look tries again
            await asyncio.to_thread(self._alarms.settle, unreadable)
        return complete

    async def follow(self) -> None:
        """Keep the arms fresh; runs until cancelled. Whatever else than a missing database stops it, no arm serves."""
        seen, read_at, away = -1, 0.0, False
        while True:
            try:
                generation = await asyncio.to_thread(read_signal, self._database, PROMPTS_SIGNAL)
                if generation != seen or self._clock() - read_at >= REREAD_S:
                    complete = await self.refresh()
                    seen, read_at = (generation if complete else -1), self._clock()
                away = False
            except DatabaseUnavailable as error:
                if not away:
                    logger.warning(
                        "the registry is away; arms stay as they are", extra={"fields": {"code": error.code}}
                    )
                away = True
            except Exception:
                self._settle({})  # one of them may be revoked by now
                raise
            await self._sleep(FOLLOW_S)

    def _settle(self, live: dict[str, Live]) -> None:
        self._live = live  # one assignment: a request sees all arms as they were or as they are
        arms = ((each.experiment.id, arm.name) for each in live.values() for arm in each.experiment.design.arms)
        self._metrics.show_arms(arms)

    async def _load(self, experiment: Experiment) -> Live | None:
        """The arms, or None when one may not serve."""
        records = await asyncio.to_thread(self._records, experiment)
        if records is None:
            return None
        models = frozenset((each.provider, each.model) for each in common_models(records))
        texts = [await self._text(record) for record in records]
        proven = all(text.content_hash == record.content_hash for text, record in zip(texts, records, strict=True))
        if not models or not proven or not all(map(serves, texts)):
            return None
        arms = tuple(
            Served(
                version=version,
                models=models,
                promotion=record.id,
                expires_ms=record.expires_ms,
                arm=arm.name,
                experiment=experiment.id,
            )
            for arm, version, record in zip(experiment.design.arms, texts, records, strict=True)
        )
        return Live(experiment=experiment, arms=arms, weights=tuple(arm.weight for arm in experiment.design.arms))

    def _records(self, experiment: Experiment) -> list[Promotion] | None:
        place, now_ms = (experiment.prompt_name, experiment.alias), self._now_ms()
        wanted = (arm.content_hash for arm in experiment.design.arms)
        found = [valid_promotion(self._database, *place, content_hash, now_ms) for content_hash in wanted]
        records = [record for record in found if record is not None]
        return records if len(records) == len(found) else None

    async def _text(self, record: Promotion) -> PromotedVersion:
        """The text, which never changes under its hash: from memory where it is there."""
        at_hand = [arm.version for live in self._live.values() for arm in live.arms]
        found = next((each for each in at_hand if each.content_hash == record.content_hash), None)
        found = found or await self._store.of_record(record)
        return replace(found, name=record.prompt_name, version=record.prompt_version, alias=record.alias)

    def _tell(self, live: Mapping[str, Live], troubles: Mapping[str, str]) -> None:
        """Log what is new."""
        for experiment_id, code in troubles.items() - self._troubles.items():
            fields = {"experiment": experiment_id, "code": code}
            logger.warning("the arms of an experiment cannot be had", extra={"fields": fields})
        now = {each.experiment.id: each for each in live.values()}
        before = {each.experiment.id: each for each in self._live.values()}
        for experiment_id in now.keys() ^ before.keys():
            fields = {"experiment": experiment_id, "prompt": (now | before)[experiment_id].experiment.prompt_name}
            said = "experiment now serving" if experiment_id in now else "experiment no longer serving"
            logger.info(said, extra={"fields": fields})

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
