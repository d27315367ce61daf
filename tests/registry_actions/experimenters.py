"""Who starts and stops experiments, and who edits their rows in the registry's database."""

import json
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from sqlalchemy import Update, update

from flows.cli.experiment_options import design
from registry.alarms import Note
from registry.database import Database
from registry.errors import Conflict, JsonValue
from registry.prompts.experiment_design import Step as Stage
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import find_experiment, unreadable_experiments
from registry.prompts.policy import Policy
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import told_serving_models, valid_promotions
from registry.prompts.revocation import NoPromotion
from registry.prompts.versions import PromotedVersion
from registry.schema import experiments, promotions
from registry_actions.contents import HASHES
from registry_actions.expected import ELSEWHERE
from registry_actions.processes import EXCLUDED
from registry_actions.state import PRODUCTION

OPENED_H = 24
"""Hours after which an experiment with a ramp is open to everybody."""


class Experimenters:
    """People at the command line, and intruders at the registry's database.

    Args:
        database: The registry.
        note: Writes to the audit log.
        clock: Seconds since the epoch.
    """

    def __init__(self, database: Database, note: Note, clock: Callable[[], float]) -> None:
        self._database = database
        self._engine = database._engine  # pyright: ignore[reportPrivateUsage] - an intruder's own way, also in outages
        self._note = note
        self._clock = clock
        self._numbers = count()
        self.started: dict[str, list[str]] = {}
        """Ids of the experiments of each prompt."""

    async def start(
        self,
        policy: Policy,
        fetch: Callable[[str, int], Awaitable[PromotedVersion]],
        versions: Sequence[int],
        *,
        ramped: bool,
        who: str,
    ) -> None:
        """As the command line does."""
        serving = valid_promotions(self._database, policy.prompt, PRODUCTION, int(self._clock() * 1000), limit=1)
        if not serving:
            raise NoPromotion(policy.prompt)
        found = [await fetch(policy.prompt, number) for number in (serving[0].prompt_version, *versions)]
        made = design(
            found,
            shares=[1.0] * len(found),
            deciding="accepted",
            guarded=(),
            steps=(Stage(share=0.5), Stage(after_h=OPENED_H)) if ramped else (Stage(),),
            excluded=(EXCLUDED,),
            planned=100,
            days=28,
            alpha=0.05,
        )
        desk = Experiments(self._database, self._note, clock=self._clock, new_id=lambda: f"exp_{next(self._numbers)}")
        promoter = Promoter(self._database, note=self._note, clock=self._clock)
        models = told_serving_models(self._database)
        experiment = desk.start(policy, made, found, promoter=promoter, models=models, by=who)
        self.started.setdefault(policy.prompt, []).append(experiment.id)

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
