"""Whether this process can answer: one probe for each thing it needs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from registry.corpus.collection import Corpus
from registry.database import Database
from registry.errors import AssayError
from registry.prompts.policy import InvalidPolicy, load_policies
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion_records import ServingModel, told_serving_models
from registry.signals import read_signal
from serving.active_prompt import LOCKED, ActivePrompt, ActivePrompts
from serving.prompt_alarms import UNPROVEN
from serving.providers.chain import Link
from serving.second_lock import Slot

PROBE_S_MAX = 2.0
NAMED_MAX = 3
"""Aliases, or models, that a report names."""
KEPT_S = 1.0
"""Reports are kept this long: whoever asks often costs the dependencies nothing."""

State = Literal["ok", "degraded", "down"]
"""ok; degraded: answers go on, somebody should look; down: nothing can be answered."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe found."""

    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All probes together."""

    status: Literal["ready", "degraded", "not-ready"]
    dependencies: Mapping[str, Health]


Probe = Callable[[], Awaitable[Health]]

_MUTE = "no provider of the chain has evidence for"
_UNUSABLE = "a promoted version cannot be used; the one before it serves"


class Readiness:
    """Runs the probes side by side, each bounded, and keeps the report for a second."""

    def __init__(self, probes: Mapping[str, Probe], clock: Callable[[], float] = time.monotonic) -> None:
        self._probes = probes
        self._clock = clock
        self._kept: tuple[float, Report] | None = None
        self._asking = asyncio.Lock()

    async def report(self) -> Report:
        """The state of every dependency, at most a second old."""
        async with self._asking:
            if self._kept is None or self._kept[0] <= self._clock():
                found = await asyncio.gather(*(_bounded(probe) for probe in self._probes.values()))
                report = _summary(dict(zip(self._probes, found, strict=True)))
                self._kept = (self._clock() + KEPT_S, report)
            return self._kept[1]


def database_probe(database: Database) -> Probe:
    """Down when the registry does not answer."""

    async def probe() -> Health:
        await asyncio.to_thread(read_signal, database, PROMPTS_SIGNAL)
        return Health("ok")

    return probe


def engine_probe(corpus: Corpus) -> Probe:
    """Down when the vector engine does not answer."""

    async def probe() -> Health:
        await corpus.ping()
        return Health("ok")

    return probe


def policy_probe(directory: Path) -> Probe:
    """Degraded when a policy file cannot be used any more: those that were read at the start hold, the gate is shut."""

    async def probe() -> Health:
        try:
            await asyncio.to_thread(load_policies, directory)
        except InvalidPolicy:  # its message names paths
            return Health("degraded", "a policy file cannot be used; see `assay doctor`")
        return Health("ok")

    return probe


def prompt_probe(prompts: ActivePrompts, links: Sequence[Link]) -> Probe:
    """Down when nothing can be answered: MLflow is away, or no provider may; degraded when an alias is not followed."""

    async def probe() -> Health:
        slots = prompts.states()
        states = slots.values()
        locked = {slot: state for slot, state in slots.items() if state.trouble in LOCKED}
        served = [state.serving for state in states if state.serving is not None]
        mute = [each for each in served if not any(each.may_answer(link.name, link.model) for link in links)]
        away = any(state.trouble == "mlflow-unavailable" for state in states)
        found: tuple[tuple[object, State, str], ...] = (
            (away and len(served) < len(states), "down", "MLflow does not answer and no promoted prompt was kept"),
            (mute and len(mute) == len(states), "down", f"{_MUTE} the prompts that serve; see `assay doctor`"),
            (away, "degraded", "MLflow does not answer; what was last let through serves"),
            (locked, "degraded", _not_followed(locked)),
            (len(served) < len(states), "degraded", "a use case has no promoted prompt version"),
            (mute, "degraded", f"{_MUTE} one of the prompts that serve; see `assay doctor`"),
            (any(state.freshness == "stale" for state in states), "degraded", _UNUSABLE),
        )
        return next((Health(state, detail) for applies, state, detail in found if applies), Health("ok"))

    return probe


def provider_probe(links: Sequence[Link]) -> Probe:
    """Down while every provider is left alone; degraded while the preferred one is, and another answers."""

    async def probe() -> Health:
        states = [link.slot.state for link in links]
        if all(state == "open" for state in states):
            return Health("down", "every provider failed too often of late and is left alone")
        if states[0] != "closed":
            return Health("degraded", f"{links[0].name} fails; the providers behind it answer")
        return Health("ok")

    return probe


def _not_followed(locked: Mapping[Slot, ActivePrompt]) -> str:
    """Which aliases point at what may not serve, and what serves instead: the alarm that is open about them."""
    told = [_locked(slot, state) for slot, state in list(locked.items())[:NAMED_MAX]]
    more = [f"and {len(locked) - NAMED_MAX} more"] if len(locked) > NAMED_MAX else []
    return f"alarm {UNPROVEN}: {'; '.join(told + more)}"


def _locked(slot: Slot, state: ActivePrompt) -> str:
    points = f"points at version {state.wanted.version}, which" if state.wanted else "points at what"
    serves = f"version {state.version.version}" if state.version else "nothing"
    return f"{'@'.join(slot)} {points} may not serve ({state.trouble}), {serves} serves"


def models_probe(database: Database, links: Sequence[Link]) -> Probe:
    """Degraded when a process on the same registry told other models after this one did: promotions ask about those."""
    own = {ServingModel(provider=link.name, model=link.model) for link in links}

    async def probe() -> Health:
        told = await asyncio.to_thread(told_serving_models, database)
        if not told or own == set(told):
            return Health("ok")
        names = ", ".join(f"{each.provider} {each.model}" for each in told[:NAMED_MAX])
        return Health(
            "degraded",
            f"another process on this registry serves with other models (it told {names}), and promotions are decided "
            "for those; give all the same settings and restart them",
        )

    return probe


async def _bounded(probe: Probe) -> Health:
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            return await probe()
    except TimeoutError:
        return Health("down", f"no answer within {PROBE_S_MAX:g} s")
    except AssayError as error:
        return Health("down", error.code)  # the message may name addresses


def _summary(found: Mapping[str, Health]) -> Report:
    states = {health.state for health in found.values()}
    status = "not-ready" if "down" in states else "degraded" if "degraded" in states else "ready"
    return Report(status, found)
