"""An experiment that runs in the API of the unit tests: how it is begun, met and looked at."""

from typing import Any

import pytest
from fakes.experiment_stage import MODEL, POLICY, design_of
from fakes.fake_serving import prompt_version

from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import Experiment
from registry.prompts.promotion import Promoter
from serving.metrics import EXPERIMENT_LIVE

ONE, TWO = prompt_version(1), prompt_version(2, "Answer briefly.")
SUBJECTS = [f"person-{number}" for number in range(24)]


def begin(api: Any, **more: Any) -> Experiment:
    """Start an experiment of version 2 against version 1."""
    api.prompts.numbered = {1: ONE, 2: TWO}
    promoter = Promoter(api.services.database, note=api.services.log.note_now)
    return Experiments(api.services.database, api.services.log.note_now).start(
        POLICY, design_of(ONE, TWO, **more), [ONE, TWO], promoter=promoter, models=[MODEL], by="ada"
    )


async def arms_of(api: Any, subjects: list[str], **body: Any) -> dict[str, str | None]:
    """Which arm each subject gets."""
    found: dict[str, str | None] = {}
    for subject in subjects:
        found[subject] = (await api.ask(subject=subject, **body)).json()["prompt"]["arm"]
    return found


async def look_once(api: Any) -> None:
    """One round of the loop, which may fail."""

    async def stop(_seconds: float) -> None:
        raise InterruptedError

    api.services.arms._sleep = stop
    with pytest.raises(InterruptedError):
        await api.services.arms.follow()


def live_arms(api: Any) -> list[str]:
    """What /metrics says about experiments."""
    return [line for line in api.services.metrics.render().decode().split("\n") if line.startswith(EXPERIMENT_LIVE)]
