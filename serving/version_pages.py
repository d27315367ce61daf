"""Keeps the pages of versions in MLflow true after people's words and moves of an alias; best effort, for people only.

The process that takes an approval or a signature rewrites that version's page. What moved under an alias, or was
revoked, one process at a time tells, the holder of a lease: on the page of what serves now, and on those pages of what
served before and of the candidate that show a verdict already. Pages that read the same are left alone. No request
waits for it, and no decision reads it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from registry.database import Database
from registry.errors import AssayError, Unavailable
from registry.prompts.candidates import announced_candidate
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion_records import all_promotions
from registry.prompts.standing import aliased_version, serving_record
from registry.prompts.verdicts import show_standing, shows_verdict
from registry.prompts.versions import PromptSource
from registry.signals import read_signal, take_lease

logger = logging.getLogger(__name__)

LEASE = "version-pages"
LOOK_S = 2.0
LEASE_S = 30.0
"""Pages that a holder left when it died are told by another after this long."""
ASKED_MAX = 100
"""Versions that wait for their page; of more the page stays as it is until something else moves."""
EARLIER_MAX = 5
"""Versions last let through whose pages are looked at after a move."""


class VersionPages:
    """Rewrites what `[assay]` paragraphs and tags say.

    Args:
        database: What is known about the versions.
        policies: Of the use cases that serve.
        mlflow: The way to MLflow; closed with this object.
        mlflow_url: Base URL of MLflow for people.
        holder: Name of this process.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        policies: Iterable[Policy],
        *,
        mlflow: MlflowRest,
        mlflow_url: str,
        holder: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._policies = tuple(policies)
        self._mlflow = mlflow
        self._source = PromptSource(mlflow)
        self._mlflow_url = mlflow_url
        self._holder = holder
        self._clock = clock
        self._asked: dict[tuple[str, int], None] = {}
        self._woken = asyncio.Event()
        self._told = -1
        """Generation of the signal whose moves are on the pages."""
        self._trouble: str | None = None

    def ask(self, name: str, version: int) -> None:
        """Have a version's page rewritten soon, because somebody said something about it; returns at once."""
        if len(self._asked) < ASKED_MAX:
            self._asked[name, version] = None
            self._woken.set()

    async def run(self) -> None:
        """Look whenever asked, and every LOOK_S; runs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            except TimeoutError:
                pass
            else:
                self._woken.clear()
            await self.look()
            if self._trouble is not None:  # what waits is tried again, and not sooner for being asked for
                await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Write what is asked for, then what moved; what MLflow or the registry keeps from it waits."""
        try:
            await self._tell_asked()
            await self._tell_moves()
        except AssayError as error:
            if self._trouble != error.code:
                fields = {"code": error.code, "reason": error.message}
                logger.warning("pages of versions are not up to date; trying again", extra={"fields": fields})
            self._trouble = error.code
        else:
            self._trouble = None

    async def aclose(self) -> None:
        """Close the connections to MLflow."""
        await self._mlflow.aclose()

    async def _tell_asked(self) -> None:
        while self._asked:
            name, version = key = next(iter(self._asked))
            del self._asked[key]  # first: who asks meanwhile is heard again
            try:
                for policy in self._policies:
                    if policy.prompt == name:
                        candidate = await asyncio.to_thread(announced_candidate, self._database, name)
                        known = set[int]() if candidate is None else {candidate.version}
                        await self._tell(policy, version, known | await self._serving(policy))
            except Unavailable:
                self._asked.setdefault(key)
                raise

    async def _tell_moves(self) -> None:
        generation = await asyncio.to_thread(read_signal, self._database, PROMPTS_SIGNAL)
        if generation == self._told:
            return
        if not await asyncio.to_thread(take_lease, self._database, LEASE, self._holder, LEASE_S):
            return  # asked again at the next look, until its holder is done or dead
        for policy in self._policies:
            serving = await self._serving(policy)
            for version in await asyncio.to_thread(self._concerned, policy, serving):
                await self._tell(policy, version, serving)
        self._told = generation

    async def _serving(self, policy: Policy) -> set[int]:
        """The versions whose content serves, by the alias and by its record: equal ones may have two numbers."""
        aliased = await aliased_version(self._source, policy)
        content, now_ms = aliased and aliased.content_hash, int(self._clock() * 1000)
        record = await asyncio.to_thread(serving_record, self._database, policy, content, now_ms)
        if record is None:
            return set()
        same = {aliased.version} if aliased is not None and aliased.content_hash == record.content_hash else set[int]()
        return same | {record.prompt_version}

    def _concerned(self, policy: Policy, serving: set[int]) -> tuple[int, ...]:
        """What serves, what did before, and the candidate, which is compared with what serves."""
        history = all_promotions(self._database, policy.prompt, policy.alias)
        earlier = [*dict.fromkeys(record.prompt_version for record in history)][:EARLIER_MAX]
        candidate = announced_candidate(self._database, policy.prompt)
        waits = [candidate.version] if candidate is not None and candidate.version else []
        return tuple(dict.fromkeys([*sorted(serving), *earlier, *waits]))

    async def _tell(self, policy: Policy, number: int, always: set[int]) -> None:
        """Rewrite one page, if it is among those to write on in any case or shows a verdict already."""
        try:
            if number not in always and not await shows_verdict(self._mlflow, policy.prompt, number):
                return
            version = await self._source.by_version(policy.prompt, number)
            if version.template.use_case == policy.use_case:
                url, now = self._mlflow_url, self._clock()
                await show_standing(self._mlflow, self._database, policy, version, mlflow_url=url, now=now)
        except Unavailable:
            raise
        except AssayError as error:  # deleted, unreadable, or MLflow does not let us write: another try helps nothing
            fields = {"prompt": policy.prompt, "version": number, "code": error.code, "reason": error.message}
            logger.debug("the page of a version stays as it is", extra={"fields": fields})
