"""Experiments: versions of a prompt that serve side by side for a while, each with a promotion record of its own.

* ExperimentNotFound (NotFound) - there is no such experiment
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import JsonValue as PydanticJson
from sqlalchemy import RowMapping, select

from registry.database import Database
from registry.errors import JsonValue, NotFound
from registry.insights import Record
from registry.prompts.experiment_design import Design
from registry.prompts.promotion_records import EXPERIMENT, Promotion, ServingModel
from registry.schema import experiments as table

logger = logging.getLogger(__name__)

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
    chosen = select(table).where(table.c.status == "running")
    return _read(database, chosen if prompt_name is None else chosen.where(table.c.prompt_name == prompt_name))


def list_experiments(database: Database, prompt_name: str | None = None) -> tuple[Experiment, ...]:
    """Experiments, newest first, at most LIST_MAX; of one prompt when named.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = select(table)
    return _read(database, chosen if prompt_name is None else chosen.where(table.c.prompt_name == prompt_name))


def find_experiment(database: Database, experiment_id: str) -> Experiment:
    """One experiment.

    Raises:
        ExperimentNotFound: there is none of this id.
        DatabaseUnavailable: the database does not answer.
    """
    found = _read(database, select(table).where(table.c.id == experiment_id)) if experiment_id.isprintable() else ()
    if not found:
        raise ExperimentNotFound(f"there is no readable experiment {experiment_id!r}; see `assay experiments status`")
    return found[0]


def _read(database: Database, chosen: Any) -> tuple[Experiment, ...]:
    newest = chosen.order_by(table.c.created_ms.desc(), table.c.id).limit(LIST_MAX)
    with database.read() as connection:
        found = [_experiment(row) for row in connection.execute(newest).mappings()]
    return tuple(each for each in found if each is not None)


def _experiment(row: RowMapping) -> Experiment | None:
    """The experiment of a row; None when somebody edited it so that it is none: the others go on without it."""
    fields: dict[str, Any] = dict(row)
    try:
        fields["design"] = Design.model_validate_json(fields["design"])
        if fields["decision"] is not None:
            fields["decision"] = json.loads(fields["decision"])
        return Experiment(**dict(_Row.model_validate(fields)))
    except (ValueError, TypeError, RecursionError):
        _tell_unreadable(str(row["id"]))
        return None


@lru_cache(maxsize=LIST_MAX)  # told once by each process, not at each of its looks
def _tell_unreadable(experiment_id: str) -> None:
    logger.error("an experiment cannot be read and serves no arm", extra={"fields": {"experiment": experiment_id}})
