"""Experiments: versions of a prompt that serve side by side for a while, each with a promotion record of its own.

A row that somebody edited so that it cannot be read is no experiment and serves no arm: it is shown, and can be ended.

* ExperimentNotFound (NotFound) - there is no such experiment
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import JsonValue as PydanticJson
from pydantic import ValidationError
from sqlalchemy import RowMapping, Select, or_, select

from registry.database import Database
from registry.errors import JsonValue, NotFound
from registry.insights import Record
from registry.prompts.experiment_design import Design
from registry.prompts.promotion_records import EXPERIMENT, Promotion, ServingModel
from registry.schema import experiments as table

logger = logging.getLogger(__name__)

RUNNING: Literal["running"] = "running"
ENDED: Literal["ended"] = "ended"
LIST_MAX = 200
"""Newest experiments that a listing returns."""


class ExperimentNotFound(NotFound):
    """There is no such experiment."""

    code = "experiment-not-found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment as it stands."""

    id: str
    prompt_name: str
    use_case: str
    status: Literal["running", "ended"]
    design: Design
    decision: Mapping[str, JsonValue] | None
    """How it ended; None while it runs."""
    created_by: str
    created_ms: int
    ended_ms: int | None

    @property
    def alias(self) -> str:
        """The place for which the records of its arms are valid; no alias of MLflow can be it."""
        return f"{EXPERIMENT}{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableExperiment:
    """A row that is no experiment any more: what is left of it."""

    id: str
    prompt_name: str
    status: str
    """As it stands there; `ended` is over, every other word is not."""
    trouble: str
    """What is wrong, with the column."""

    @property
    def alias(self) -> str:
        """As of an experiment."""
        return f"{EXPERIMENT}{self.id}"

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status == ENDED

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do."""
        told = f"experiment {self.id!r} of prompt {self.prompt_name!r} cannot be read ({self.trouble})"
        if self.is_over:
            return f"{told}; it has ended"
        return f"{told} and serves no arm; end it: `assay experiments stop {self.id} --reason WHY`"


class _Row(Record):
    """What a row has to hold to be an experiment."""

    id: str
    prompt_name: str
    use_case: str
    status: Literal["running", "ended"]
    design: Design
    decision: dict[str, PydanticJson] | None
    created_by: str
    created_ms: int
    ended_ms: int | None


def common_models(records: Sequence[Promotion]) -> frozenset[ServingModel]:
    """The models that every arm was let through with: only these answer, or one would compare models."""
    first = records[0].models
    return frozenset(each for each in first if all(each in record.models for record in records))


def running_experiments(database: Database, prompt_name: str | None = None) -> tuple[Experiment, ...]:
    """What runs now: of one prompt when named, else of all. A row that cannot be read is left out.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = select(table).where(table.c.status == RUNNING)
    return _readable(database, chosen if prompt_name is None else chosen.where(table.c.prompt_name == prompt_name))


def unended_experiments(database: Database) -> tuple[Experiment | UnreadableExperiment, ...]:
    """What has not ended, readable or not.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    return _read(database, select(table).where(table.c.status != ENDED))


def list_experiments(database: Database, prompt_name: str | None = None) -> tuple[Experiment, ...]:
    """Experiments, newest first, at most LIST_MAX; of one prompt when named. A row that cannot be read is left out.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = select(table)
    return _readable(database, chosen if prompt_name is None else chosen.where(table.c.prompt_name == prompt_name))


def find_experiment(database: Database, experiment_id: str) -> Experiment:
    """One experiment.

    Raises:
        ExperimentNotFound: there is none of this id that can be read.
        DatabaseUnavailable: the database does not answer.
    """
    known = experiment_id.isprintable()
    found = _readable(database, select(table).where(table.c.id == experiment_id)) if known else ()
    if not found:
        raise ExperimentNotFound(f"there is no readable experiment {experiment_id!r}; see `assay experiments status`")
    return found[0]


def unreadable_experiments(database: Database, name: str | None = None) -> tuple[UnreadableExperiment, ...]:
    """Rows that cannot be read, those that have not ended first: by prompt or id when named, else all.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = select(table).order_by(table.c.status == ENDED)
    if name is not None:
        chosen = chosen.where(or_(table.c.prompt_name == name, table.c.id == name))
    found = _read(database, chosen) if name is None or name.isprintable() else ()
    return tuple(each for each in found if isinstance(each, UnreadableExperiment))


def _readable(database: Database, chosen: Select[Any]) -> tuple[Experiment, ...]:
    return tuple(each for each in _read(database, chosen) if isinstance(each, Experiment))


def _read(database: Database, chosen: Select[Any]) -> tuple[Experiment | UnreadableExperiment, ...]:
    newest = chosen.order_by(table.c.created_ms.desc(), table.c.id).limit(LIST_MAX)
    with database.read() as connection:
        return tuple(_experiment(row) for row in connection.execute(newest).mappings())


def _experiment(row: RowMapping) -> Experiment | UnreadableExperiment:
    fields: dict[str, Any] = dict(row)
    column = "design"
    try:
        fields["design"] = Design.model_validate_json(fields["design"])
        column = "decision"
        if fields["decision"] is not None:
            fields["decision"] = json.loads(fields["decision"])
        column = "row"
        return Experiment(**dict(_Row.model_validate(fields)))
    except (ValueError, TypeError, RecursionError) as error:
        if row["status"] != ENDED:
            _tell_unreadable(str(row["id"]))
        names = {name: str(row[name]) for name in ("id", "prompt_name", "status")}
        return UnreadableExperiment(**names, trouble=_trouble(column, error))


def _trouble(column: str, error: Exception) -> str:
    """What is wrong, short and without what stands there."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, (column, *first["loc"]) if column != "row" else first["loc"]))
        return f"{place}: {first['msg']}"
    return f"{column}: not JSON" if isinstance(error, ValueError) else f"{column}: {type(error).__name__}"


@lru_cache(maxsize=LIST_MAX)  # told once by each process, not at each of its looks
def _tell_unreadable(experiment_id: str) -> None:
    logger.error("an experiment cannot be read and serves no arm", extra={"fields": {"experiment": experiment_id}})
