"""The second lock: a content serves only with a valid promotion record for its hash, wherever an alias points."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.database import Database
from registry.errors import AssayError
from registry.insights import PromptRef
from registry.prompts.promotion_records import Promotion, last_of_each_content, valid_promotion
from registry.prompts.schema import SUPPLIED_VARIABLES
from registry.prompts.versions import PromotedVersion

MLFLOW_ASKS_MAX = 3
"""Versions asked of MLflow for one choice; what lies in memory or on disk is tried without a limit of its own."""

Slot = tuple[str, str]
"""Prompt name and alias, as a use case's policy names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What answers one call: a version, who may answer with it, and as what it was let through."""

    version: PromotedVersion
    models: frozenset[tuple[str, str]] | None = None
    """(provider, model) pairs that the record names; None: every one, for a version pinned by an evaluation."""
    promotion: str | None = None
    """Id of the record that lets it serve; None for a pinned version."""
    expires_ms: int | None = None
    """When the record ends; None: it does not."""
    arm: str | None = None
    experiment: str | None = None
    unit: str | None = None
    """Keyed hash of the subject or session that asks; None: nobody told."""

    def may_answer(self, provider: str, model: str) -> bool:
        """Whether this model was proven with the version."""
        return self.models is None or (provider, model) in self.models

    @property
    def reference(self) -> PromptRef:
        """As an insight names it."""
        version = self.version
        return PromptRef(
            name=version.name,
            version=version.version,
            alias=version.alias,
            arm=self.arm,
            experiment=self.experiment,
        )

    def in_force(self, now_ms: int) -> bool:
        """Whether the record still lets it serve."""
        return self.expires_ms is None or now_ms < self.expires_ms


class PromptStore(Protocol):
    """Where versions come from (`registry.prompts.promoted.PromotedPrompts`)."""

    async def fetch(self, name: str, alias: str) -> PromotedVersion:
        """The version that the alias points at now, whether or not it may serve."""
        ...

    async def fetch_version(self, name: str, version: int) -> PromotedVersion:
        """A version by its number."""
        ...

    async def of_record(self, record: Promotion) -> PromotedVersion:
        """The version that a record names: from disk, else from MLflow."""
        ...

    def kept(self, record: Promotion) -> PromotedVersion | None:
        """The version that a record names, if it lies on disk."""
        ...

    def keep(self, version: PromotedVersion) -> None:
        """Keep a proven version on disk."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class SecondLock:
    """Chooses what may serve.

    Args:
        store: Texts of versions.
        database: Promotion records.
    """

    def __init__(self, store: PromptStore, database: Database) -> None:
        self._store = store
        self._database = database

    async def choose(
        self, slot: Slot, wanted: PromotedVersion | None, at_ms: int, known: Sequence[PromotedVersion], *, ask: bool
    ) -> Served | None:
        """The wanted version if it may serve at a moment, else the one that was last let through there.

        Args:
            slot: The place.
            wanted: Where the alias points; None: nowhere, or at nothing usable.
            at_ms: The moment, in milliseconds since the epoch.
            known: Other versions whose texts are at hand.
            ask: Whether MLflow may be asked for a text that is neither at hand nor on disk.

        Raises:
            DatabaseUnavailable: Nobody knows what may serve.
        """
        texts = {each.content_hash: each for each in (*known, *filter(None, (wanted,)))}
        asks_left = MLFLOW_ASKS_MAX if ask else 0
        content = wanted and wanted.content_hash
        for record in await asyncio.to_thread(records_in_order, self._database, slot, content, at_ms):
            version = texts.get(record.content_hash) or await asyncio.to_thread(self._store.kept, record)
            if version is None and asks_left > 0:
                asks_left -= 1
                version = await self._asked(record)
            if version is not None and serves(version):
                return _served(version, record)
        return None

    async def _asked(self, record: Promotion) -> PromotedVersion | None:
        try:
            return await self._store.of_record(record)
        except AssayError:  # gone, rewritten, or MLflow is away: what was let through before may do
            return None


def records_in_order(database: Database, slot: Slot, wanted: str | None, at_ms: int) -> Sequence[Promotion]:
    """What may serve in a place, first choice first: the wanted content alone if it may, else as they were let through.

    Args:
        database: Promotion records.
        slot: The place.
        wanted: Hash of the content under the alias; None: nothing usable.
        at_ms: The moment, in milliseconds since the epoch.

    Raises:
        DatabaseUnavailable: Nobody knows what may serve.
    """
    first = None if wanted is None else valid_promotion(database, *slot, wanted, at_ms)
    return (first,) if first else last_of_each_content(database, *slot, at_ms)


def serves(version: PromotedVersion) -> bool:
    """Whether serving can fill in everything that the version wants."""
    declared = version.template.variables
    supplied = all(
        name in SUPPLIED_VARIABLES and SUPPLIED_VARIABLES[name][0] == variable.type
        for name, variable in declared.items()
        if variable.required
    )
    return supplied and set(version.template.placeholders) <= set(declared)


def _served(version: PromotedVersion, record: Promotion) -> Served:
    return Served(
        version=version,
        models=frozenset((each.provider, each.model) for each in record.models),
        promotion=record.id,
        expires_ms=record.expires_ms,
    )
