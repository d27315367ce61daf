"""How long a promotion takes to reach four workers, and what callers notice of 200 of them.

`assay serve --workers 4` on a real engine, and a real MLflow server with the gate inside, whose signed webhook tells
the API. Two versions differ in their number of passages and in the length of their wording, so that every answer shows
by its passages and its prompt tokens which version made each half of it. While callers go on asking, `production`
goes back and forth in MLflow. A promotion's time runs from the beginning of the alias call until the last worker's log
says that the version serves, so the gate's decision counts.

A request failed when it was not answered with 200. It is mixed when passages and tokens are not both those of the
version that the answer names, or when the audit log has another content hash or another content's record for it. It is
late when it began after the last worker had switched and names the old version.

A promotion is told in three ways: by the gate's signal, by MLflow's webhook, and to whoever asks MLflow. The last one
alone is timed as well: there the alias moves in MLflow's database, between versions that both have their record.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx
from fixtures_mlflow import GatedMlflow, started_mlflow
from mlflow_calls import MlflowCalls
from rich.progress import Progress
from sqlalchemy import func, select

from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import PromptTemplate, content_hash, load_template
from registry.prompts.webhooks import ensure_webhook
from registry.schema import promotions, webhook_deliveries
from tests.benchmarks.measurement import Figure, percentile
from tests.benchmarks.promotion_callers import OK, Answer, Signature, Traffic
from tests.benchmarks.serving_process import ROOT, WEBHOOK_SECRET, Surroundings, serving, surroundings_of

WORKERS, SWAPS, POLLED_SWAPS = 4, 200, 40
REST_S_MAX = 2.0
"""Between two promotions, at random, so that they begin at any moment of the workers' looks."""
REACH_S_MAX, WAIT_S_MAX, LOOK_S = 5.0, 60.0, 0.02
QUESTION_S_MAX = 30.0
SEED = 5
TICK_S = 0.001
"""Times in the log are cut to milliseconds."""
NOW_SERVING = "prompt version now serving"
POLICY = "use_case: insights\nprompt: insights\nrequires:\n  - kind: lint\n"
LONG = "Prefer the newest passage where two of them disagree, and name the period that a figure is about. "


class Log:
    """What the workers said about the versions that they serve."""

    def __init__(self, path: Path) -> None:
        self._file = path.open()
        self._part = ""
        self._said: dict[int, tuple[int, float]] = {}

    def serving(self, version: int) -> dict[int, float]:
        """Since when each worker whose last word is this version serves it, by process."""
        self._part += self._file.read()
        *lines, self._part = self._part.split("\n")
        for line in filter(lambda line: NOW_SERVING in line, lines):
            said = json.loads(line)
            self._said[said["process"]] = said["version"], datetime.fromisoformat(said["time"]).timestamp()
        return {process: at_s for process, (found, at_s) in self._said.items() if found == version}

    def reached(self, version: int) -> float:
        """Wait until the last of the workers serves a version; when it began to.

        Raises:
            TimeoutError: not all of them do within a minute.
        """
        give_up_s = time.monotonic() + WAIT_S_MAX
        while len(found := self.serving(version)) < WORKERS:
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{len(found)} of {WORKERS} workers serve version {version}")
            time.sleep(LOOK_S)
        return max(found.values()) + TICK_S

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Found:
    """What a run saw."""

    reach_s: list[float] = field(default_factory=list[float])
    polled_s: list[float] = field(default_factory=list[float])
    """Of the moves that nobody was told."""
    switches: list[tuple[float, float, int]] = field(default_factory=list[tuple[float, float, int]])
    """Of each promotion: when the last worker had switched, when the next promotion began, and the version."""
    traffic: list[Answer] = field(default_factory=list[Answer])
    signatures: dict[int, Signature] = field(default_factory=dict[int, Signature])

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(answer.status != OK for answer in self.traffic)

    @property
    def mixed(self) -> int:
        """Answers of which a part is another version's."""
        good = [answer for answer in self.traffic if answer.status == OK]
        return sum(answer.signature != self.signatures[answer.version] for answer in good)

    @property
    def late(self) -> int:
        """Answers of the old version to questions that came after the last worker had switched."""
        return sum(
            from_s < answer.began_s < until_s and answer.version not in {0, version}
            for from_s, until_s, version in self.switches
            for answer in self.traffic
        )


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Seconds until four workers serve, and requests that failed, were mixed or late."""
    task = progress.add_task("promotion_reach: swaps", total=SWAPS + POLLED_SWAPS)
    policies, home = folder / "policies", folder / "mlflow"
    for each in (policies, home):
        each.mkdir()
    (policies / "insights.yaml").write_text(POLICY)
    registry = f"sqlite:///{folder / 'registry.db'}"
    with started_mlflow(home, registry=registry) as mlflow:
        mlflow.protect("insights")
        hashes = asyncio.run(_push(mlflow.url))
        with surroundings_of(folder, mlflow.url, registry, policies) as around:
            with MlflowCalls(mlflow.url) as calls:
                calls.move("insights", 1).raise_for_status()
                with serving(around, WORKERS) as api:
                    found = asyncio.run(_swap(api.url, around, mlflow, calls, lambda: progress.advance(task)))
            wrong = _wrong_in_the_log(around.home, mlflow, hashes)
    yield from _reach("all workers serve", found.reach_s)
    yield from _reach("told by nobody: all workers serve", found.polled_s)
    n = len(found.traffic)
    for name, count in (("failed", found.failed), ("mixed", found.mixed + wrong), ("late", found.late)):
        yield Figure(name=f"{name} requests", value=count, unit="", n=n, promise="0", kept=count == 0)


def _reach(name: str, reach_s: list[float]) -> Iterator[Figure]:
    n, p99 = len(reach_s), percentile(reach_s, 99)
    yield Figure(name=f"{name}, p50", value=percentile(reach_s, 50), unit="s", n=n)
    promise, kept = f"≤ {REACH_S_MAX:g} s", p99 <= REACH_S_MAX
    yield Figure(name=f"{name}, p99", value=p99, unit="s", n=n, promise=promise, kept=kept)
    yield Figure(name=f"{name}, slowest", value=max(reach_s), unit="s", n=n)


async def _push(mlflow_url: str) -> dict[int, str]:
    """Two versions; the content hash of each."""
    first = load_template(ROOT / "prompts" / "insights.yaml")
    first = first.model_copy(update={"model": first.model.model_copy(update={"top_k": 2})})
    rest = MlflowRest(mlflow_url)
    try:
        pushed = [(await PromptPublisher(rest).push(each)).version for each in (first, _other(first))]
    finally:
        await rest.aclose()
    return {each.version: content_hash(each.template) for each in pushed}


def _other(template: PromptTemplate) -> PromptTemplate:
    """One more passage, and a longer wording."""
    assert not isinstance(template.template, str)
    head, *rest = template.template
    turns = (head.model_copy(update={"content": f"{head.content}\n{(20 * LONG).strip()}"}), *rest)
    return template.model_copy(
        update={"template": turns, "model": template.model.model_copy(update={"top_k": template.model.top_k + 1})}
    )


async def _swap(
    url: str, around: Surroundings, mlflow: GatedMlflow, calls: MlflowCalls, tell: Callable[[], None]
) -> Found:
    found, log = Found(), Log(around.home / "serve.log")
    await ensure_webhook(mlflow.url, f"{url}/hooks/mlflow", WEBHOOK_SECRET, key=mlflow.key("admin"))
    async with httpx.AsyncClient(
        base_url=url, headers=around.headers, timeout=QUESTION_S_MAX, trust_env=False
    ) as client:
        traffic = Traffic(client, around.questions[0])
        for version in (2, 1):  # each alone, to know its signature
            await asyncio.to_thread(_move, calls, version)
            await asyncio.to_thread(log.reached, version)
            alone = await traffic.ask()
            assert alone.version == version, "the version that every worker serves answers"
            found.signatures[version] = alone.signature
        if not all(one != other for one, other in zip(*found.signatures.values(), strict=True)):
            raise ValueError(f"the two versions cannot be told apart: {found.signatures}")
        async with traffic.flowing():
            found.reach_s = await _timed(SWAPS, found, log, lambda version: _move(calls, version), tell)
            pushes = _pushes(mlflow)
            unheard = partial(mlflow.move_unheard, "insights")
            found.polled_s = await _timed(POLLED_SWAPS, found, log, unheard, tell)
            if not 0 < pushes == _pushes(mlflow):
                raise ValueError(f"{pushes} pushes through the gate, {_pushes(mlflow) - pushes} past it")
    log.close()
    found.traffic = traffic.answers
    return found


async def _timed(
    swaps: int, found: Found, log: Log, move: Callable[[int], None], tell: Callable[[], None]
) -> list[float]:
    """Move the alias to and fro; the seconds that each move took to reach the last worker."""
    pauses, reach_s = random.Random(SEED), list[float]()  # noqa: S311 - when to promote is no secret
    for swap in range(swaps):
        await asyncio.sleep(pauses.uniform(0, REST_S_MAX))
        version, began_s = 2 - swap % 2, time.time()
        if found.switches:
            found.switches[-1] = (found.switches[-1][0], began_s, found.switches[-1][2])
        await asyncio.to_thread(move, version)
        reached_s = await asyncio.to_thread(log.reached, version)
        reach_s.append(reached_s - began_s)
        found.switches.append((reached_s, float("inf"), version))
        tell()
    return reach_s


def _pushes(mlflow: GatedMlflow) -> int:
    """How many pushes the API accepted so far."""
    with mlflow.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(webhook_deliveries)) or 0


def _move(calls: MlflowCalls, version: int) -> None:
    calls.move("insights", version).raise_for_status()


def _wrong_in_the_log(home: Path, mlflow: GatedMlflow, hashes: dict[int, str]) -> int:
    """Answers whose entry in the audit log names another content, or a record of another content."""
    with mlflow.database.read() as connection:
        records = {row.id: row.content_hash for row in connection.execute(select(promotions)).all()}
    wrong = served = 0
    for file in (home / "audit").glob("serve-*.jsonl"):
        for line in filter(lambda line: '"outcome"' in line, file.read_text().splitlines()):
            entry = json.loads(line)
            if entry.get("phase") != "outcome" or entry["status"] != "served":
                continue
            prompt, served = entry["body"]["prompt"], served + 1
            expected = hashes[prompt["version"]]
            wrong += not prompt["content_hash"] == records[prompt["promotion"]] == expected
    if served == 0:
        raise ValueError("no answer in the audit log")
    return wrong
