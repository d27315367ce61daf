"""Serving processes for random sequences, each with a disk of its own; and the loop that their work runs on."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from registry.database import Database, DatabaseUnavailable
from registry.errors import JsonValue
from registry.insights import Question
from registry.prompts.assignment import assignment_key
from registry.prompts.promoted import PromotedPrompts
from registry.prompts.versions import PromptNotFound
from registry.tenants import Principal
from registry_actions.contents import HASHES, TEMPLATES
from registry_actions.sequences import APPROVERS, CONTENTS, WORKERS
from registry_actions.state import PRODUCTION
from serving.active_prompt import ActivePrompts, PromptUnavailable
from serving.arms import Arms
from serving.call_log import Call
from serving.metrics import Metrics
from serving.prompt_alarms import PromptAlarms
from serving.second_lock import Served

T = TypeVar("T")
Answers = Mapping[str, Served]
"""What each subject gets."""

KEY = assignment_key(b"0" * 32)
SUBJECTS = ("ann", "ben", "cleo", "dan", "eve")
TENANT, EXCLUDED = "north", "south"
"""The second takes no part in experiments."""


@dataclass(slots=True)
class Process:
    """A serving process with a disk of its own."""

    home: Path
    prompts: ActivePrompts
    arms: Arms


def _call(prompt: str, subject: str | None, tenant: str) -> Call:
    caller = Principal(key_id="key", tenant=tenant, role="engineer", owner="ann")
    asked = Question(question="How many?", use_case=prompt, subject=subject)
    return Call(id="call", question=asked, caller=caller, tenant=tenant, billed_to="tenant")


CALLS = {prompt: {subject: _call(prompt, subject, TENANT) for subject in SUBJECTS} for prompt in APPROVERS}
OUTSIDERS = {prompt: (_call(prompt, None, TENANT), _call(prompt, SUBJECTS[0], EXCLUDED)) for prompt in APPROVERS}
"""Calls in nobody's name, and of a tenant that takes no part."""


class ServingProcesses:
    """Some processes on one registry and one MLflow.

    Args:
        database: The registry.
        mlflow_url: Base URL of MLflow.
        client: Makes the HTTP client of a process.
        home: An empty folder.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        mlflow_url: str,
        client: Callable[[], httpx.AsyncClient | None],
        home: Path,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._mlflow_url = mlflow_url
        self._client = client
        self._clock = clock
        self._metrics = Metrics()
        self._runner = asyncio.Runner(loop_factory=_loop)
        self.experiments = False
        """Whether anybody ever wanted to start one; before, processes do not look for arms."""
        self.all = [self._process(home / str(number)) for number in range(WORKERS)]

    def serving(self, process: int, prompt: str) -> Served | None:
        """What a process answers with."""
        try:
            return self.all[process].prompts.current(prompt, PRODUCTION)
        except (PromptNotFound, PromptUnavailable):
            return None

    def answers(self, process: int, prompt: str, production: Served) -> Answers:
        """What each subject gets while this is in production."""
        arms = self.all[process].arms
        return {subject: arms.choose(production, call) for subject, call in CALLS[prompt].items()}

    def outsiders(self, process: int, prompt: str, production: Served) -> list[Served]:
        """What those get who take no part."""
        return [self.all[process].arms.choose(production, call) for call in OUTSIDERS[prompt]]

    def look(self, worker: int | None = None, prompt: str | None = None) -> None:
        """One process, or each, asks about one prompt, or both."""
        for process in self.all if worker is None else [self.all[worker]]:
            prompts: Any = process.prompts
            self.run(prompts.refresh() if prompt is None else prompts._refresh_one((prompt, PRODUCTION)))
            self._look_at_arms(process)

    def close(self) -> None:
        """Close the event loop."""
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, also in the middle of other such work."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(work)
        with ThreadPoolExecutor(1) as aside:
            return aside.submit(asyncio.run, work).result()

    def restart(self, worker: int) -> None:
        """A process ends, and another starts on its disk."""
        self.all[worker] = self._process(self.all[worker].home)
        self.run(self.all[worker].prompts.start())
        self.look(worker)  # the loops of a process look again at once

    def spoil_disk(self, worker: int, prompt: str, content: int) -> None:
        """Half a file."""
        self._overwrite(worker, prompt, content, '{"name": ')

    def plant_on_disk(self, worker: int, prompt: str, content: int) -> None:
        """Another content under this one's name."""
        other = TEMPLATES[prompt, (content + 1) % CONTENTS]
        self._overwrite(worker, prompt, content, other.model_dump_json(exclude_defaults=True))

    def _look_at_arms(self, process: Process) -> None:
        if not self.experiments:
            return
        with suppress(DatabaseUnavailable):  # arms stay as they are, as the loop of a process has it
            self.run(process.arms.refresh())

    def _process(self, home: Path) -> Process:
        store = PromotedPrompts(self._mlflow_url, home, self._database, client=self._client(), clock=self._clock)
        slots = [(prompt, PRODUCTION) for prompt in APPROVERS]
        alarms = PromptAlarms(self._database, slots, _unnoted, self._clock)
        prompts = ActivePrompts(
            store, self._database, slots, self._metrics, alarms, holder=home.name, clock=self._clock
        )
        arms = Arms(
            store,
            self._database,
            key=KEY,
            hashed=lambda tenant, subject: f"{tenant}/{subject}",
            metrics=self._metrics,
            note=_unnoted,
            clock=self._clock,
        )
        return Process(home, prompts, arms)

    def _overwrite(self, worker: int, prompt: str, content: int, text: str) -> None:
        path = self.all[worker].home / "prompts" / prompt / f"{HASHES[prompt, content]}.json"
        if path.exists():
            path.write_text(text)


class _InPlace(ThreadPoolExecutor):
    """Does at once what is meant for a thread: the same order each time, and no waiting for one."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do it."""
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            done.set_exception(error)
        return done


def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_InPlace(1))
    return loop


def _unnoted(_: str, __: Mapping[str, JsonValue]) -> None:
    """The audit log is not looked at."""
