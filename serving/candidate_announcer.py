"""Tells Prefect when a version becomes the candidate of a prompt, so that its evaluation starts by itself.

A push of MLflow wakes the process that received it, and one process at a time, the holder of a lease, also asks MLflow
every few seconds, so that a lost push costs seconds. The registry remembers what was announced: a candidate is told
once, by whomever, and again only after the alias was somewhere else. What cannot be told is tried again until it can.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from uuid import NAMESPACE_URL, UUID, uuid5

from registry.database import Database
from registry.errors import AssayError
from registry.prompts.candidates import CANDIDATE, WITHDRAWN, Announced, announced_candidate, remember_candidate
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.versions import PromptSource
from registry.signals import take_lease
from serving.prefect_events import PrefectEvent, PrefectEvents

logger = logging.getLogger(__name__)

EVENT = "assay.prompt.candidate"
LEASE = "candidates"
POLL_S = 10.0
"""How long a candidate waits when MLflow's push was lost."""
LEASE_S = 3 * POLL_S


class CandidateAnnouncer:
    """Announces candidates of the prompts that use cases name.

    Args:
        database: Remembers what was announced.
        prompts: Names of the prompts.
        mlflow: The way to MLflow; closed with this object.
        events: The way to Prefect.
        holder: Name of this process.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        prompts: Iterable[str],
        *,
        mlflow: MlflowRest,
        events: PrefectEvents,
        holder: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._prompts = tuple(sorted(set(prompts)))
        self._mlflow = mlflow
        self._source = PromptSource(mlflow)
        self._events = events
        self._holder = holder
        self._clock = clock
        self._woken = asyncio.Event()
        self._troubles: dict[str, str] = {}
        """What kept a prompt's candidate from being announced at the last look."""

    def wake(self) -> None:
        """Look now; returns at once."""
        self._woken.set()

    async def run(self) -> None:
        """Look whenever woken, and every POLL_S in one process at a time; runs until cancelled."""
        while True:
            pushed = await self._pushed_within(POLL_S)
            try:
                if pushed or await asyncio.to_thread(take_lease, self._database, LEASE, self._holder, LEASE_S):
                    await self.look()
            except AssayError as error:  # the lease: the registry is away
                self._note_trouble("*", error)

    async def look(self) -> None:
        """Ask MLflow for every prompt's candidate and announce those that are new."""
        for prompt in self._prompts:
            try:
                await self._announce(prompt)
            except AssayError as error:
                self._note_trouble(prompt, error)
            else:
                self._troubles.pop(prompt, None)
        self._troubles.pop("*", None)

    async def aclose(self) -> None:
        """Close the connections to MLflow."""
        await self._mlflow.aclose()

    async def _pushed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _announce(self, prompt: str) -> None:
        found = await self._source.number_under(prompt, CANDIDATE)
        before = await asyncio.to_thread(announced_candidate, self._database, prompt)
        now = WITHDRAWN if found is None else found
        if now == (WITHDRAWN if before is None else before.version):
            return
        if now != WITHDRAWN:
            await self._events.send(self._event(prompt, now, before))
            logger.info("candidate announced", extra={"fields": {"prompt": prompt, "version": now}})
        # Afterwards: who dies in between is followed by one who sends the same event, which Prefect takes once.
        await asyncio.to_thread(remember_candidate, self._database, prompt, now, self._clock)

    def _event(self, prompt: str, version: int, before: Announced | None) -> PrefectEvent:
        return PrefectEvent(
            id=_occasion(prompt, version, before),
            name=EVENT,
            resource_id=f"assay.prompt.{prompt}.{version}",
            resource_name=f"{prompt}/{version}",
            payload={"prompt": prompt, "version": version, "reference": f"{prompt}/{version}"},
            occurred_s=self._clock(),
        )

    def _note_trouble(self, prompt: str, error: AssayError) -> None:
        if self._troubles.get(prompt) != error.code:
            fields = {"prompt": prompt, "code": error.code, "reason": error.message}
            logger.warning("candidates cannot be announced; trying again every %g s", POLL_S, extra={"fields": fields})
        self._troubles[prompt] = error.code


def _occasion(prompt: str, version: int, before: Announced | None) -> UUID:
    """The same for everyone who saw the alias move from what was announced before to this version."""
    since = "first" if before is None else f"{before.version}@{before.announced_ms}"
    return uuid5(NAMESPACE_URL, f"assay:candidate:{prompt}/{version}:{since}")
