"""The promise behind all others, asked of the tables directly: what serves has a record, and the record its grounds."""

import json
from typing import Any

from sqlalchemy import select

from registry.prompts.promotion_records import Promotion
from registry.prompts.schema import content_hash
from registry.schema import evidence, experiments, promotions
from registry_actions.contents import policy
from registry_actions.expected import ELSEWHERE
from registry_actions.processes import Answers
from registry_actions.sequences import APPROVERS
from registry_actions.world import RegistryWorld
from serving.second_lock import Served

ASKED = {prompt: {each.kind for each in policy(prompt).requires} for prompt in APPROVERS}
"""Kinds of evidence that a policy wants, whatever else it asks."""


class Disagreement(AssertionError):
    """The product did something else than the rules want."""


class Proofs:
    """Looks behind what a process serves.

    Args:
        world: With the registry.
    """

    def __init__(self, world: RegistryWorld) -> None:
        self.checks = 0
        self._world = world
        self._proven: set[str] = set()
        self._arms: dict[tuple[str, str], str] = {}
        """By experiment and subject."""

    def require_record(self, prompt: str, served: Served, place: str) -> None:
        """What serves has an unrevoked, unexpired record of this place for its very content.

        Raises:
            Disagreement: It has none.
        """
        self.checks += 1
        with self._world.database.read() as connection:
            row = connection.execute(select(promotions).where(promotions.c.id == served.promotion)).mappings().one()
        ended = row["expires_ms"] is not None and row["expires_ms"] <= int(self._world.clock() * 1000)
        text = content_hash(served.version.template)
        about = row["prompt_name"], row["content_hash"], row["alias"]
        if ended or row["revoked_ms"] is not None or about != (prompt, text, place):
            raise Disagreement(f"{prompt} serves {text} in {place} without a record: {dict(row)!r}")

    def require_arms(self, prompt: str, production: Served, answers: Answers) -> None:
        """Each subject has production, or the arm of a running experiment that it always had, with a record.

        Raises:
            Disagreement: Somebody has something else.
        """
        seen = {(production.promotion, production.version.content_hash)}
        for subject, served in answers.items():
            if served.experiment is not None:
                self._require_same_arm(subject, served)
            what = served.promotion, served.version.content_hash
            if what not in seen:
                self.require_record(prompt, served, f"experiment:{served.experiment}")
                self._require_running(prompt, served)
            seen.add(what)

    def require_no_orphans(self) -> None:
        """Whatever may serve as an arm belongs to an experiment that runs, however it ended or failed to start.

        Raises:
            Disagreement: A record outlives its experiment.
        """
        self.checks += 1
        places = select(promotions.c.alias).where(
            promotions.c.alias.startswith("experiment:"), promotions.c.revoked_ms.is_(None)
        )
        running = select(experiments.c.id).where(experiments.c.status == "running")
        with self._world.database.read() as connection:
            left = {*connection.scalars(places)} - {f"experiment:{each}" for each in connection.scalars(running)}
        if left - {ELSEWHERE}:
            raise Disagreement(f"records outlive {left}")

    def require_grounds(self, record: Promotion) -> None:
        """Each record rests on passing evidence of its content, or on the signatures of two people.

        Raises:
            Disagreement: It rests on something else.
        """
        if record.id in self._proven:
            return
        self.checks += 1
        self._proven.add(record.id)
        with self._world.database.read() as connection:
            rows = connection.execute(select(evidence).where(evidence.c.id.in_(record.evidence))).mappings().all()
        said = {json.loads(row["details"]).get("by") for row in rows if row["kind"] == "waiver"}
        kinds = {row["kind"] for row in rows}
        whole = len(rows) == len(record.evidence) > 0 and all(
            (row["prompt_name"], row["content_hash"], row["verdict"])
            == (record.prompt_name, record.content_hash, "PASS")
            for row in rows
        )
        if not whole or (len(said) < 2 if said else kinds != ASKED[record.prompt_name]):
            raise Disagreement(f"{record!r} rests on {kinds!r}")

    def _require_same_arm(self, subject: str, served: Served) -> None:
        had = self._arms.setdefault((str(served.experiment), subject), str(served.arm))
        if had != served.arm:
            raise Disagreement(f"{subject} had arm {had} of {served.experiment}, and now has {served.arm}")

    def _require_running(self, prompt: str, served: Served) -> None:
        with self._world.database.read() as connection:
            row: Any = connection.execute(select(experiments).where(experiments.c.id == served.experiment)).one()
        if (row.prompt_name, row.status) != (prompt, "running"):
            raise Disagreement(f"{prompt} serves an arm of {served.experiment}, which is {row.status}")
