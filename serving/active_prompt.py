"""The prompt versions being served: swapped whole, kept through MLflow's bad days, never changed behind our back.

Two loops keep them fresh. Every process reads the `prompts` signal each second and fetches when it has grown; one
process at a time, the holder of a lease, also asks MLflow every other second and raises the signal when something
moved, so that a lost webhook costs seconds. While the registry is away both go on trying.

* PromptUnavailable (Unavailable) - nothing to serve, and MLflow could not be asked
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from registry.database import Database
from registry.errors import AssayError, Unavailable
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptTampered
from registry.prompts.schema import SUPPLIED_VARIABLES, InvalidTemplate
from registry.prompts.versions import PromotedVersion, PromptNotFound
from registry.signals import bump_signal, read_signal, take_lease
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

LEASE = "prompts-poll"
SIGNAL_S = 1.0
POLL_S = 2.0
LEASE_S = 10.0
"""A dead poller is replaced after this long; the webhook is not affected."""
STARTUP_S = 2.5
"""How long a start waits for MLflow before it serves the last good version."""

Slot = tuple[str, str]
"""Prompt name and alias, as a use case's policy names them."""

Freshness = Literal["fresh", "stale", "missing"]
"""fresh: as MLflow has it; stale: the last good one, MLflow did not confirm it; missing: nothing to serve."""


class PromptUnavailable(Unavailable):
    """There may be a promoted version; it could not be read, and none was kept from before."""

    code = "prompt-unavailable"


class PromptStore(Protocol):
    """Where promoted versions come from (`registry.prompts.promoted.PromotedPrompts`)."""

    async def fetch(self, name: str, alias: str) -> PromotedVersion:
        """The version that the alias points at now."""
        ...

    def last_good(self, name: str, alias: str) -> PromotedVersion | None:
        """The version that served last, from disk."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class ActivePrompt:
    """What one prompt name stands for at this moment."""

    version: PromotedVersion | None
    freshness: Freshness
    trouble: str | None = None
    """Why it is not fresh: a problem code, or `tampered`, `unsupplied-variable`."""


class ActivePrompts:
    """The promoted version of each prompt that a use case names."""

    def __init__(
        self,
        store: PromptStore,
        database: Database,
        slots: Iterable[Slot],
        metrics: Metrics,
        *,
        holder: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._database = database
        self._metrics = metrics
        self._holder = holder
        self._sleep = sleep
        self._active = {slot: ActivePrompt(None, "missing") for slot in slots}
        self._seen = -1
        self._announced: dict[Slot, PromotedVersion | None] | None = None
        self._refreshing = asyncio.Lock()
        self._without_registry: set[str] = set()
        """The loops that found the registry away at their last turn."""

    def current(self, name: str, alias: str) -> PromotedVersion:
        """The version to serve; the caller keeps it for the whole of its request.

        Raises:
            PromptNotFound: no version was ever promoted, or it was withdrawn.
            PromptUnavailable: MLflow did not answer yet and no version was kept.
        """
        active = self._active.get((name, alias))
        if active is not None and active.version is None and active.trouble is not None:
            raise PromptUnavailable(f"prompt {name!r} cannot be had ({active.trouble}) and no good version was kept")
        if active is None or active.version is None:
            raise PromptNotFound(f"prompt {name!r} has no version under alias {alias!r}; promote one first")
        return active.version

    def states(self) -> dict[Slot, ActivePrompt]:
        """Each prompt as it stands, for readiness."""
        return dict(self._active)

    async def start(self) -> None:
        """Have something to serve: from MLflow if it answers at once, else the last good version from disk."""
        for slot in self._active:
            kept = await asyncio.to_thread(self._store.last_good, *slot)
            if kept is not None and serves(kept):
                self._swap(slot, kept, "stale")
        try:
            async with asyncio.timeout(STARTUP_S):
                await self.refresh()
        except TimeoutError:
            logger.warning("MLflow did not answer in time at the start; serving last good prompts")

    async def refresh(self) -> bool:
        """Fetch every prompt; False when one could not be read and should be tried again."""
        complete = True
        async with self._refreshing:  # an answer that took long must not overwrite a younger one
            for slot in self._active:
                complete = await self._refresh_one(slot) and complete
        return complete

    async def follow_signal(self) -> None:
        """Fetch whenever the signal grew; runs until cancelled."""
        while True:
            with self._bearing_outages("follow-signal"):
                generation = await asyncio.to_thread(read_signal, self._database, PROMPTS_SIGNAL)
                if generation != self._seen and await self.refresh():
                    self._seen = generation
            await self._sleep(SIGNAL_S)

    async def poll(self) -> None:
        """Ask MLflow every other second, in one process at a time, and tell the others; runs until cancelled."""
        while True:
            with self._bearing_outages("poll"):
                if await asyncio.to_thread(take_lease, self._database, LEASE, self._holder, LEASE_S):
                    await self.refresh()
                    await self._announce()
                else:
                    self._announced = None
            await self._sleep(POLL_S)

    @contextmanager
    def _bearing_outages(self, loop: str) -> Generator[None]:
        """One turn of a loop: with the registry away it ends early, and the first loop to notice says so once."""
        try:
            yield
        except Unavailable as error:
            if not self._without_registry:
                fields = {"code": error.code}
                logger.warning(
                    "the registry is away; prompts stay as they are until it is back", extra={"fields": fields}
                )
            self._without_registry.add(loop)
        else:
            self._without_registry.discard(loop)

    async def _announce(self) -> None:
        """Tell the others what moved since the last time; a new holder cannot know, and tells in any case."""
        versions = {slot: active.version for slot, active in self._active.items()}
        if versions != self._announced:
            await asyncio.to_thread(bump_signal, self._database, PROMPTS_SIGNAL)
            self._announced = versions

    async def _refresh_one(self, slot: Slot) -> bool:
        try:
            found = await self._store.fetch(*slot)
        except PromptNotFound:
            self._withdraw(slot)
            return True
        except PromptTampered:
            self._metrics.prompt_tampered.labels(*slot).set(1)
            self._keep(slot, "tampered")
            return True
        except AssayError as error:
            self._keep(slot, error.code)
            return isinstance(error, InvalidTemplate)
        if not serves(found):
            self._keep(slot, "unsupplied-variable")
            return True
        self._metrics.prompt_tampered.labels(*slot).set(0)
        self._swap(slot, found, "fresh")
        return True

    def _swap(self, slot: Slot, found: PromotedVersion, freshness: Freshness) -> None:
        before = self._active[slot].version
        # One assignment: a request sees the old version or the new one, never a mixture.
        self._active[slot] = ActivePrompt(found, freshness)
        self._metrics.prompt_version.labels(*slot).set(found.version)
        if before is None or (before.version, before.content_hash) != (found.version, found.content_hash):
            fields = {"prompt": found.name, "version": found.version, "content_hash": found.content_hash}
            logger.info("prompt version now serving", extra={"fields": fields})

    def _keep(self, slot: Slot, reason: str) -> None:
        self._metrics.prompt_refresh_failures.labels(*slot, reason).inc()
        before = self._active[slot]
        if before.trouble != reason:
            fields = {"prompt": slot[0], "reason": reason, "serving": before.version and before.version.version}
            logger.warning("prompt not refreshed; the last good version goes on serving", extra={"fields": fields})
        freshness: Freshness = "missing" if before.version is None else "stale"
        self._active[slot] = ActivePrompt(before.version, freshness, reason)

    def _withdraw(self, slot: Slot) -> None:
        if self._active[slot].version is not None:
            logger.warning("prompt has no promoted version any more", extra={"fields": {"prompt": slot[0]}})
        self._active[slot] = ActivePrompt(None, "missing")
        self._metrics.prompt_version.labels(*slot).set(0)


def serves(version: PromotedVersion) -> bool:
    """Whether serving can fill in everything that the version wants."""
    declared = version.template.variables
    supplied = all(
        name in SUPPLIED_VARIABLES and SUPPLIED_VARIABLES[name][0] == variable.type
        for name, variable in declared.items()
        if variable.required
    )
    return supplied and set(version.template.placeholders) <= set(declared)
