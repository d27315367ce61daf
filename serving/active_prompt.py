"""The prompt versions being served: proven ones only, swapped whole, kept through MLflow's bad days.

Two loops keep them fresh. Every process reads the `prompts` signal each second and fetches when it has grown; one
process at a time, the holder of a lease, also asks MLflow every other second and raises the signal when something
moved, so that a lost webhook costs seconds. While the registry is away both go on trying.

* PromptUnavailable (Unavailable) - nothing to serve, and MLflow could not be asked
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from registry.database import Database
from registry.errors import AssayError, JsonValue, Unavailable
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptTampered
from registry.prompts.schema import InvalidTemplate
from registry.prompts.versions import PromotedVersion, PromptNotFound
from registry.signals import bump_signal, read_signal, take_lease
from serving.metrics import Metrics
from serving.prompt_alarms import Findings, PromptAlarms
from serving.second_lock import PromptStore, SecondLock, Served, Slot, serves

logger = logging.getLogger(__name__)

LEASE = "prompts-poll"
SIGNAL_S = 1.0
POLL_S = 2.0
LEASE_S = 10.0
"""A dead poller is replaced after this long; the webhook is not affected."""
STARTUP_S = 2.5
"""How long a start waits for MLflow before it serves what was last let through, from disk."""

Freshness = Literal["fresh", "stale", "missing"]
"""fresh: as the alias says; stale: proven, and not what the alias says or nobody knows; missing: nothing to serve."""

UNPROVEN, NO_ALIAS, TAMPERED = "unproven", "no-alias", "tampered"
UNREADABLE, UNSUPPLIED = "unreadable", "unsupplied-variable"
LOCKED = (UNPROVEN, NO_ALIAS, TAMPERED, UNREADABLE, UNSUPPLIED)
"""Troubles that are alarms: the alias points at what may not serve, or nowhere."""
KNOWN = (*LOCKED, None)
"""With any other trouble, a problem code, MLflow or the registry could not be asked."""


class PromptUnavailable(Unavailable):
    """There may be a promoted version; it could not be read, and none was kept from before."""

    code = "prompt-unavailable"


@dataclass(frozen=True, slots=True)
class ActivePrompt:
    """What one prompt name stands for at this moment."""

    serving: Served | None = None
    then: Served | None = None
    """What follows when the record of `serving` ends: at hand beforehand, so that no call has to wait for it."""
    freshness: Freshness = "missing"
    trouble: str | None = None
    """Why it is not fresh: a problem code, or one of ours."""
    wanted: PromotedVersion | None = None
    """Where the alias points, as far as MLflow told."""

    @property
    def version(self) -> PromotedVersion | None:
        """The version that serves."""
        return self.serving.version if self.serving else None


class ActivePrompts:
    """The proven version of each prompt that a use case names."""

    def __init__(
        self,
        store: PromptStore,
        database: Database,
        slots: Iterable[Slot],
        metrics: Metrics,
        alarms: PromptAlarms,
        *,
        holder: str,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._database = database
        self._metrics = metrics
        self._alarms = alarms
        self._holder = holder
        self._clock = clock
        self._sleep = sleep
        self._lock = SecondLock(store, database)
        self._active = {slot: ActivePrompt() for slot in slots}
        self._seen = -1
        self._announced: dict[Slot, tuple[Served | None, bool]] | None = None
        self._refreshing = asyncio.Lock()
        self._without_registry: set[str] = set()
        """The loops that found the registry away at their last turn."""

    def current(self, name: str, alias: str) -> Served:
        """What to serve with; the caller keeps it for the whole of its request.

        Raises:
            PromptNotFound: no version was ever let through, or none may serve any more.
            PromptUnavailable: MLflow did not answer yet and no version was kept.
        """
        active = self._active.get((name, alias), ActivePrompt())
        now_ms = self._now_ms()
        for served in (active.serving, active.then):
            if served is not None and served.in_force(now_ms):
                return served
        if active.version is None and active.trouble not in {None, UNPROVEN}:
            raise PromptUnavailable(f"prompt {name!r} cannot be had ({active.trouble}) and no good version was kept")
        raise PromptNotFound(f"prompt {name!r} has no version under alias {alias!r} that may serve; promote one first")

    def states(self) -> dict[Slot, ActivePrompt]:
        """Each prompt as it stands, for readiness."""
        return dict(self._active)

    async def start(self) -> None:
        """Have something to serve: from MLflow if it answers at once, else what was last let through, from disk."""
        for slot in self._active:
            try:
                serving, then = await self._choose(slot, None, ask=False)
            except Unavailable:  # the refresh below tells
                continue
            if serving is not None:
                self._settle(slot, ActivePrompt(serving, then, "stale"))
        try:
            async with asyncio.timeout(STARTUP_S):
                await self.refresh()
        except TimeoutError:
            logger.warning("MLflow did not answer in time at the start; serving what was last let through")

    async def refresh(self) -> bool:
        """Fetch every prompt; False when one could not be read and should be tried again."""
        complete = True
        async with self._refreshing:  # an answer that took long must not overwrite a younger one
            for slot in self._active:
                complete = await self._refresh_one(slot) and complete
        return complete

    async def follow_signal(self) -> None:
        """Fetch whenever the signal grew or a record ended; runs until cancelled."""
        while True:
            with self._bearing_outages("follow-signal"):
                generation = await asyncio.to_thread(read_signal, self._database, PROMPTS_SIGNAL)
                if (generation != self._seen or self._expired()) and await self.refresh():
                    self._seen = generation
            await self._sleep(SIGNAL_S)

    async def poll(self) -> None:
        """Ask MLflow every other second, in one process at a time, and tell the others; runs until cancelled."""
        while True:
            with self._bearing_outages("poll"):
                if await asyncio.to_thread(take_lease, self._database, LEASE, self._holder, LEASE_S):
                    await self.refresh()
                    await self._announce()
                    await asyncio.to_thread(self._alarms.settle, self._findings())
                else:
                    self._announced = None
                    self._alarms.forget()
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
        found = {slot: (active.serving, active.trouble in LOCKED) for slot, active in self._active.items()}
        if found != self._announced:
            await asyncio.to_thread(bump_signal, self._database, PROMPTS_SIGNAL)
            self._announced = found

    async def _refresh_one(self, slot: Slot) -> bool:
        before = self._active[slot]
        wanted, trouble = await self._wanted(slot)
        try:
            serving, then = await self._choose(slot, wanted, ask=trouble in KNOWN)
            if serving is not None:
                await asyncio.to_thread(self._store.keep, serving.version)
        except Unavailable as error:  # nobody knows what may serve; what did goes on until its record ends
            serving, then, trouble = before.serving, before.then, error.code
        trouble = why_not_followed(wanted, trouble, serving and serving.version.content_hash)
        freshness: Freshness = "missing" if serving is None else "stale" if trouble else "fresh"
        self._settle(slot, ActivePrompt(serving, then, freshness, trouble, wanted))
        return trouble in KNOWN

    async def _wanted(self, slot: Slot) -> tuple[PromotedVersion | None, str | None]:
        """Where the alias points, or the trouble with it."""
        try:
            wanted = await self._store.fetch(*slot)
        except PromptNotFound:
            return None, NO_ALIAS
        except PromptTampered:
            return None, TAMPERED
        except InvalidTemplate:
            return None, UNREADABLE
        except AssayError as error:
            return None, error.code
        return (wanted, None) if serves(wanted) else (None, UNSUPPLIED)

    async def _choose(
        self, slot: Slot, wanted: PromotedVersion | None, *, ask: bool
    ) -> tuple[Served | None, Served | None]:
        """What may serve now, and what follows when its record ends."""
        before = self._active[slot]
        known = [each.version for each in (before.serving, before.then) if each is not None]
        if not ask and wanted is None and before.version is not None:
            wanted = before.version  # nobody knows where the alias points: what serves goes on while it may
        serving = await self._lock.choose(slot, wanted, self._now_ms(), known, ask=ask)
        if serving is None or serving.expires_ms is None:
            return serving, None
        return serving, await self._lock.choose(slot, wanted, serving.expires_ms, known, ask=ask)

    def _settle(self, slot: Slot, now: ActivePrompt) -> None:
        before = self._active[slot]
        # One assignment: a request sees the old version or the new one, never a mixture.
        self._active[slot] = now
        self._metrics.prompt_version.labels(*slot).set(now.version.version if now.version else 0)
        if now.trouble in KNOWN:
            self._metrics.prompt_unproven.labels(*slot).set(now.trouble in LOCKED)
            self._metrics.prompt_tampered.labels(*slot).set(now.trouble == TAMPERED)
        if now.trouble is not None:
            self._metrics.prompt_refresh_failures.labels(*slot, now.trouble).inc()
        fields: dict[str, JsonValue] = {"prompt": slot[0], "alias": slot[1]}
        if now.version is not None and now.version != before.version:
            told = {"version": now.version.version, "content_hash": now.version.content_hash}
            logger.info("prompt version now serving", extra={"fields": fields | told})
        if now.version is None and before.version is not None:
            logger.warning("prompt has no version any more that may serve", extra={"fields": fields})
        if now.trouble not in {None, before.trouble}:
            told = {"reason": now.trouble, "serving": now.version and now.version.version}
            logger.warning(
                "prompt not refreshed; what was last let through goes on serving", extra={"fields": fields | told}
            )

    def _findings(self) -> Findings:
        """What is wrong with each prompt; one whose alias nobody could ask for is left out."""
        return {slot: _wrong(active) for slot, active in self._active.items() if active.trouble in KNOWN}

    def _expired(self) -> bool:
        """Whether a record ended on which something serves."""
        now_ms = self._now_ms()
        return any(active.serving and not active.serving.in_force(now_ms) for active in self._active.values())

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def why_not_followed(wanted: PromotedVersion | None, trouble: str | None, serving: str | None) -> str | None:
    """What is wrong with a place once it is known what serves there; None: nothing is.

    Args:
        wanted: what the alias points at; None: nowhere, or at nothing usable.
        trouble: with asking for it, or with what was found.
        serving: hash of the content that serves; None: nothing does.
    """
    if serving is None and trouble == NO_ALIAS:
        return None  # never promoted, or withdrawn with its records
    if wanted is not None and trouble is None and wanted.content_hash != serving:
        return UNPROVEN
    return trouble


def _wrong(active: ActivePrompt) -> dict[str, JsonValue] | None:
    if active.trouble not in LOCKED:
        return None
    return {
        "reason": active.trouble,
        "version": active.wanted and active.wanted.version,
        "content_hash": active.wanted and active.wanted.content_hash,
        "serving": active.version and active.version.version,
    }
