"""The places where prompts serve: where the alias of each policy points, what serves there, and why that differs."""

from dataclasses import dataclass
from typing import Protocol

from registry.database import Database
from registry.errors import JsonValue
from registry.prompts.policy import Policy
from registry.prompts.promoted import PromptHashes
from registry.prompts.promotion_records import Promotion
from registry.prompts.schema import InvalidTemplate
from registry.prompts.versions import PromotedVersion, PromptNotFound
from serving.active_prompt import NO_ALIAS, TAMPERED, UNPROVEN, UNREADABLE, UNSUPPLIED, why_not_followed
from serving.second_lock import records_in_order, serves

WHY = {
    UNPROVEN: "no valid promotion record lets its content serve",
    NO_ALIAS: "the alias is gone",
    TAMPERED: "its text was changed after it was first seen",
    UNREADABLE: "it holds no usable template",
    UNSUPPLIED: "it wants a variable that serving does not supply",
}
"""What the reasons of the alarm `prompt-unproven` mean."""


class Aliases(Protocol):
    """Where aliases point (`registry.prompts.versions.PromptSource`)."""

    async def by_alias(self, name: str, alias: str) -> PromotedVersion:
        """The version under an alias."""
        ...

    async def number_under(self, name: str, alias: str) -> int | None:
        """Its number, whatever the version holds; None: no such alias."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An alias that a policy protects: where it points, and what serves."""

    policy: Policy
    points_to: int | None
    """None: there is no such alias."""
    record: Promotion | None
    """What lets serve what serves; None: nothing does."""
    reason: str | None
    """Why the alias is not followed, as the alarm `prompt-unproven` has it; None: it is, or nothing was let through."""

    @property
    def serving(self) -> int | None:
        """Number of the version that serves."""
        return None if self.record is None else self.record.prompt_version

    @property
    def sentence(self) -> str:
        """Where the alias points, what serves, and why that is something else."""
        where = f"alias {self.policy.alias!r} of use case {self.policy.use_case!r} points"
        points = f"{where} nowhere" if self.points_to is None else f"{where} at {self.policy.prompt}/{self.points_to}"
        if self.reason is None:
            return f"{points}, which serves" if self.record else f"{points}; nothing serves"
        serves = "nothing" if self.record is None else f"{self.policy.prompt}/{self.serving}, let through before,"
        return f"{points}: {WHY[self.reason]}; {serves} serves"

    def as_dict(self) -> dict[str, JsonValue]:
        """For `--json`."""
        return {
            "use_case": self.policy.use_case,
            "alias": self.policy.alias,
            "points_to": self.points_to,
            "serves": self.serving,
            "record": None if self.record is None else self.record.id,
            "reason": self.reason,
        }


async def place_of(aliases: Aliases, database: Database, policy: Policy, now_ms: int) -> Place:
    """What serves under a policy's alias, chosen as serving's second lock does; writes nothing.

    From outside nobody knows which texts the serving processes have in memory and on disk, so every text counts as at
    hand. A process that has none of a rewritten or deleted version goes on to the record before.

    Raises:
        MlflowUnavailable: MLflow gives no usable answer.
        DatabaseUnavailable: the database does not answer.
    """
    slot = policy.prompt, policy.alias
    wanted: PromotedVersion | None = None
    trouble: str | None = None
    try:
        wanted = await aliases.by_alias(*slot)
        points_to = wanted.version
    except PromptNotFound:
        points_to, trouble = None, NO_ALIAS
    except InvalidTemplate:
        points_to, trouble = await aliases.number_under(*slot), UNREADABLE
    if wanted is not None and (trouble := _trouble(database, wanted)) is not None:
        wanted = None
    record = next(iter(records_in_order(database, slot, wanted and wanted.content_hash, now_ms)), None)
    reason = why_not_followed(wanted, trouble, record and record.content_hash)
    return Place(policy=policy, points_to=points_to, record=record, reason=reason)


def _trouble(database: Database, wanted: PromotedVersion) -> str | None:
    if PromptHashes(database).known(wanted) not in {None, wanted.content_hash}:
        return TAMPERED
    return None if serves(wanted) else UNSUPPLIED
