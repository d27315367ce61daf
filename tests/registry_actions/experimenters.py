"""Who starts and stops experiments, and who edits their rows in the registry's database."""

import json
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Update, update

from flows.cli.experiment_options import design
from flows.experiment_looks import look_at_all
from flows.prompt_places import place_of
from registry.alarms import Note
from registry.database import Database
from registry.errors import Conflict, JsonValue
from registry.prompts.experiment_design import Step as Stage
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import find_experiment, unreadable_experiments
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import load_policies, load_policy
from registry.prompts.promoted import promoted_version
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import told_serving_models
from registry.prompts.revocation import NoPromotion
from registry.prompts.versions import PromptSource
from registry.schema import experiments, promotions
from registry_actions.contents import HASHES
from registry_actions.expected import ELSEWHERE
from registry_actions.model import DAYS_MAX, OPENED_H
from registry_actions.processes import EXCLUDED


class Experimenters:
    """People at the command line, the flow that watches, and intruders at the registry's database.

    Args:
        database: The registry.
        policies: The folder of the policies.
        mlflow: Opens a way to MLflow.
        run: Runs to the end.
        note: Writes to the audit log.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        policies: Path,
        *,
        mlflow: Callable[[], MlflowRest],
        run: Callable[[Coroutine[Any, Any, None]], None],
        note: Note,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._engine = database._engine  # pyright: ignore[reportPrivateUsage] - an intruder's own way, also in outages
        self._policies = policies
        self._mlflow = mlflow
        self._run = run
        self._note = note
        self._clock = clock
        self._numbers = count()
        self.started: dict[str, list[str]] = {}
        """Ids of the experiments of each prompt."""

    def start_experiment(self, prompt: str, versions: tuple[int, ...], who: str, *, ramped: bool) -> None:
        """As the command line does."""
        self._run(self._start(prompt, versions, who, ramped=ramped))

    def watch_experiments(self) -> None:
        """As the flow does."""
        self._run(self._watch())

    async def _start(self, prompt: str, versions: tuple[int, ...], who: str, *, ramped: bool) -> None:
        chosen = load_policy(self._policies, prompt)
        async with aclosing(self._mlflow()) as rest:
            source = PromptSource(rest)
            control = (await place_of(source, self._database, chosen, int(self._clock() * 1000))).record
            if control is None:
                raise NoPromotion(prompt)
            found = [await promoted_version(source, control)]
            found += [await source.by_version(prompt, number) for number in versions]
        made = design(
            found,
            shares=[1.0] * len(found),
            deciding="accepted",
            guarded=(),
            steps=(Stage(share=0.5), Stage(after_h=OPENED_H)) if ramped else (Stage(),),
            excluded=(EXCLUDED,),
            planned=100,
            days=DAYS_MAX,
            alpha=0.05,
        )
        desk = Experiments(self._database, self._note, clock=self._clock, new_id=lambda: f"exp_{next(self._numbers)}")
        promoter = Promoter(self._database, note=self._note, clock=self._clock)
        models = told_serving_models(self._database)
        experiment = desk.start(chosen, made, found, promoter=promoter, models=models, by=who)
        self.started.setdefault(prompt, []).append(experiment.id)

    async def _watch(self) -> None:
        async with aclosing(self._mlflow()) as rest:
            policies = load_policies(self._policies)
            found = await look_at_all(self._database, PromptSource(rest), policies, self._note, self._clock)
        for error in found.failed.values():
            if not isinstance(error, Conflict):  # a row that cannot be read
                raise error

    def stop_experiment(self, prompt: str) -> None:
        """As the command line does, also where it cannot be read."""
        newest = self._newest(prompt)
        decision: dict[str, JsonValue] = {"outcome": "stopped", "arm": None}
        desk = Experiments(self._database, self._note, clock=self._clock)
        unreadable = [row for row in unreadable_experiments(self._database, newest) if row.id == newest]
        if unreadable:
            over = desk.end_unreadable(unreadable[0], decision, "ada")
        else:
            over = desk.end(find_experiment(self._database, newest), decision, "ada") is not None
        if not over:
            raise Conflict(newest)

    def end_arm(self, prompt: str, arm: int, how: str) -> None:
        """In the registry's database: no record of an arm lets it serve any more."""
        now_ms = int(self._clock() * 1000)
        values: dict[str, dict[str, Any]] = {
            "revoked": {"revoked_ms": now_ms},
            "expired": {"expires_ms": now_ms},
            "garbled": {"models": "no JSON"},
            "elsewhere": {"alias": ELSEWHERE},
        }
        design = self._design(prompt)
        if design is None:
            return
        theirs = (promotions.c.alias == f"experiment:{self._newest(prompt)}") & promotions.c.revoked_ms.is_(None)
        content = promotions.c.content_hash == design["arms"][arm]["content_hash"]
        self._edit(update(promotions).where(theirs, content).values(**values[how]))

    def plant_in_design(self, prompt: str, arm: int, content: int) -> None:
        """In the registry's database: another content stands in the design."""
        design = self._design(prompt)
        if design is not None:
            design["arms"][arm]["content_hash"] = HASHES[prompt, content]
            self._edit_newest(prompt, design=json.dumps(design))

    def garble_design(self, prompt: str) -> None:
        """In the registry's database: the design is no JSON."""
        self._edit_newest(prompt, design="{")

    def revive_experiment(self, prompt: str) -> None:
        """In the registry's database: what ended runs."""
        self._edit_newest(prompt, status="running")

    def _newest(self, prompt: str) -> str:
        return next(reversed(self.started.get(prompt, [])), "exp_none")

    def _design(self, prompt: str) -> dict[str, Any] | None:
        """What stands there; None: nothing that can be read."""
        with self._engine.connect() as connection:
            text = connection.scalar(
                experiments.select()
                .with_only_columns(experiments.c.design)
                .where(experiments.c.id == self._newest(prompt))
            )
        return None if text in {None, "{"} else json.loads(str(text))

    def _edit_newest(self, prompt: str, **values: str) -> None:
        self._edit(update(experiments).where(experiments.c.id == self._newest(prompt)).values(**values))

    def _edit(self, change: Update) -> None:
        with self._engine.begin() as connection:
            connection.execute(change)
